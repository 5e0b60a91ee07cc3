"""Anthropic's messages."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cotlens.credentials import user_info
from cotlens.errors import MissingExtraError
from cotlens.judge.chat import ChatReply, ChatRequest, Options
from cotlens.judge.faults import BusyFault, fault_of_body, fault_of_status, usage_of
from cotlens.judge.providers.timed import TimedCalls

if TYPE_CHECKING:
    import anthropic

__all__ = ["AnthropicProvider", "anthropic_client"]


class AnthropicProvider:
    """Sends messages with the official client, one attempt each."""

    options = Options(limit="max_tokens")

    def __init__(self, client: anthropic.AsyncAnthropic, model: str, deadline_s: float) -> None:
        self._model, self._calls = model, TimedCalls(deadline_s, client.close)
        # Looked up here, once: the client imports its parts when they are named.
        self._create = client.messages.with_raw_response.create

    def close(self) -> None:
        self._calls.close()

    def send(self, request: ChatRequest) -> ChatReply:
        import anthropic

        try:
            body = self._calls.make(lambda: self._post(self._arguments(request)))
        except anthropic.APIStatusError as error:
            raise fault_of_status(error.status_code, error.response.headers, error.response.text) from None
        except anthropic.APITimeoutError:
            raise BusyFault("no response in time (label.timeout_s)", sent=True) from None
        except anthropic.APIConnectionError as error:
            kind = type(error.__cause__).__name__
            sent = kind not in ("ConnectError", "ConnectTimeout", "PoolTimeout")
            raise BusyFault(f"connection failed ({kind}: {error.__cause__})", sent=sent) from None
        return read_message(body)

    async def _post(self, arguments: dict[str, Any]) -> str:
        response = await self._create(**arguments)
        text: str = response.http_response.text
        return text

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        # What not every release of the client names among its parameters goes into the body as it is.
        extra: dict[str, Any] = {"temperature": request.temperature} if request.options.temperature else {}
        if request.options.form == "json_schema":
            extra["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
        said = [message for message in request.messages if message.role != "system"]
        system = "\n".join(message.content for message in request.messages if message.role == "system")
        return {
            "model": self._model,
            "max_tokens": request.max_tokens,
            "system": system,
            "messages": [message._asdict() for message in said],
            "extra_body": extra,
        }


def anthropic_client(key: str, base_url: str | None, timeout_s: float) -> anthropic.AsyncAnthropic:
    try:
        import anthropic
    except ImportError:
        raise MissingExtraError("anthropic", "judge") from None
    known = user_info(base_url) if base_url else None
    headers = {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"} if known else None
    return anthropic.AsyncAnthropic(
        api_key=key, base_url=base_url, timeout=timeout_s, max_retries=0, default_headers=headers
    )


def read_message(body: str) -> ChatReply:
    """A message's text and usage.

    Raises:
        Fault: there is none in ``body``.
    """
    try:
        data = json.loads(body)
        text = "".join(block["text"] for block in data["content"] if block["type"] == "text")
        reason = data["stop_reason"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise fault_of_body(body) from None
    tokens = usage_of(data)
    if reason == "refusal":
        return ChatReply(text, "refused", *tokens)
    return ChatReply(text, "cut" if reason == "max_tokens" else "complete", *tokens)
