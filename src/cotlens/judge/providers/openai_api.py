"""OpenAI's chat completions, Azure's, and those of any server that speaks the same (vLLM, Ollama, LM Studio)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cotlens.credentials import user_info
from cotlens.judge.chat import ChatReply, ChatRequest, Options
from cotlens.judge.faults import BusyFault, Fault, fault_of_body, fault_of_status, usage_of
from cotlens.judge.providers.timed import TimedCalls

if TYPE_CHECKING:
    import openai

__all__ = ["OpenAIProvider", "azure_client", "openai_client"]


class OpenAIProvider:
    """Sends chat requests with the official client, one attempt each."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, options: Options, deadline_s: float) -> None:
        self._model, self._calls = model, TimedCalls(deadline_s, client.close)
        # Looked up here, once: the client imports its parts when they are named.
        self._create = client.chat.completions.with_raw_response.create
        self.options = options

    def close(self) -> None:
        self._calls.close()

    def send(self, request: ChatRequest) -> ChatReply:
        import openai

        try:
            body = self._calls.make(lambda: self._post(self._arguments(request)))
        except openai.APIStatusError as error:
            raise fault_of_status(error.status_code, error.response.headers, error.response.text) from None
        except openai.APITimeoutError:
            raise BusyFault("no response in time (label.timeout_s)", sent=True) from None
        except openai.APIConnectionError as error:
            raise _lost(error) from None
        return read_completion(body)

    async def _post(self, arguments: dict[str, Any]) -> str:
        response = await self._create(**arguments)
        text: str = response.http_response.text
        return text

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        options = request.options
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": [message._asdict() for message in request.messages],
            options.limit: request.max_tokens,
        }
        if options.temperature:
            arguments["temperature"] = request.temperature
        if options.form == "json_schema":
            form = {"name": "reply", "strict": True, "schema": request.schema}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        elif options.form == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        return arguments


def openai_client(key: str, base_url: str | None, timeout_s: float) -> openai.AsyncOpenAI:
    import openai

    return openai.AsyncOpenAI(
        api_key=key, base_url=base_url, timeout=timeout_s, max_retries=0, default_headers=_headers(base_url)
    )


def azure_client(key: str, endpoint: str, api_version: str, timeout_s: float) -> openai.AsyncOpenAI:
    import openai

    return openai.AsyncAzureOpenAI(
        api_key=key, azure_endpoint=endpoint, api_version=api_version, timeout=timeout_s, max_retries=0,
        default_headers=_headers(endpoint),
    )  # fmt: skip


def read_completion(body: str) -> ChatReply:
    """A chat completion's text and usage.

    Raises:
        Fault: there is none in ``body``.
    """
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text = _text(message.get("content"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise fault_of_body(body) from None
    tokens = usage_of(data)
    if message.get("refusal") or finish == "content_filter":
        return ChatReply(str(message.get("refusal") or text), "refused", *tokens)
    return ChatReply(text, "cut" if finish == "length" else "complete", *tokens)


def _text(content: Any) -> str:
    """The text of a message: a string, or a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    if content is None or isinstance(content, str):
        return content or ""
    raise TypeError(f"a content of type {type(content).__name__}")


def _headers(url: str | None) -> dict[str, str] | None:
    """User name and password that were given within the URL go out as basic authorisation."""
    known = user_info(url) if url else None
    return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"} if known else None


def _lost(error: Exception) -> Fault:
    cause = error.__cause__
    what = f"connection failed ({type(cause).__name__ if cause else 'no response'}: {cause or error})"
    return BusyFault(what, sent=type(cause).__name__ not in ("ConnectError", "ConnectTimeout", "PoolTimeout"))
