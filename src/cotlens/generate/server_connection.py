"""Requests to a completions server: bounded in number, patient with faults that pass, and with one line for others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from pydantic import BaseModel

from cotlens.errors import EnvironmentFault, InputError
from cotlens.generate.server_messages import Models, Reply, Request
from cotlens.redaction import shown

if TYPE_CHECKING:
    import openai

__all__ = ["Connection", "RequestRefusedError"]

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
TRIES = 6
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 600.0  # a busy server lets requests wait

_KEY_NAMES = ("COTLENS_GENERATOR_KEY", "OPENAI_API_KEY")

M = TypeVar("M", bound=BaseModel)


class RequestRefusedError(EnvironmentFault):
    """The server does not take a request of this form."""


class Connection:
    """A client of the server at ``url``, which sends at most ``at_once`` requests at a time.

    The API key is that of ``COTLENS_GENERATOR_KEY``, else of ``OPENAI_API_KEY``, else none.
    """

    def __init__(self, url: str, at_once: int = 1) -> None:
        from openai import AsyncOpenAI, Timeout

        self.url = url
        self._key = _read_key()
        self._room = anyio.Semaphore(at_once)
        self._quiet_until = 0.0
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )

    async def close(self) -> None:
        await self._client.close()

    async def models(self) -> list[str] | None:
        """The names under which the server offers models; None where it does not tell.

        Raises:
            EnvironmentFault: no server answers there, or it refuses the key.
        """

        async def send() -> str:
            raw = await self._client.models.with_raw_response.list()
            return raw.http_response.text

        try:
            listed = await self._persist(send, Models, "it offers no models", reached=False)
        except RequestRefusedError:
            return None
        return [shown(model.id, self._key) for model in listed.data]

    async def ask(self, request: Request) -> Reply:
        """The server's reply.

        Raises:
            RequestRefusedError: the server does not take such a request.
            EnvironmentFault: the server can't be reached, or fails again and again.
        """

        async def send() -> str:
            raw = await self._client.completions.with_raw_response.create(
                model=request.model,
                prompt=request.prompt,
                max_tokens=request.max_tokens,
                temperature=0,
                stop=list(request.stop) or None,
                extra_body=request.extras,
            )
            return raw.http_response.text

        async with self._room:
            return await self._persist(send, Reply, f"the model asked for is {request.model!r}")

    async def _persist(self, send: Callable[[], Awaitable[str]], form: type[M], detail: str, reached: bool = True) -> M:
        """Send until there is an answer of this ``form``; a server that was never reached is not asked again."""
        import openai

        for attempt in range(1, TRIES + 1):
            text = ""
            try:
                text = await send()
                return form.model_validate_json(text)
            except openai.OpenAIError as error:
                fault = self._fault(error, detail)
                if attempt == TRIES or not _passes(error, reached):
                    raise fault from None
                asked_s = _asked_to_wait_s(error)
            except ValueError:  # another form, or no JSON at all
                fault = EnvironmentFault(f"{self.url}: answered with no completion: {shown(text, self._key)!r}")
                if attempt == TRIES:
                    raise fault from None
                asked_s = None
            await self._wait(fault, attempt, asked_s)
        raise AssertionError("the last attempt returns or raises")

    async def _wait(self, fault: EnvironmentFault, attempt: int, asked_s: float | None) -> None:
        wait_s = min(FIRST_WAIT_S * 2 ** (attempt - 1) if asked_s is None else asked_s, LONGEST_WAIT_S)
        now = time.monotonic()
        if now >= self._quiet_until:  # what all requests meet at once is said once
            logger.warning("generate: %s; trying again in %.3g s (%d of %d)", fault, wait_s, attempt + 1, TRIES)
            self._quiet_until = now + wait_s
        await anyio.sleep(wait_s)

    def _fault(self, error: openai.OpenAIError, detail: str) -> EnvironmentFault:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return EnvironmentFault(f"{self.url}: no answer within {ANSWER_TIMEOUT_S:.0f} s")
        if not isinstance(error, openai.APIStatusError):
            cause = shown(str(error.__cause__ or error), self._key)
            return EnvironmentFault(
                f"{self.url}: no connection ({cause}); start the server, or mend --generator (generate.server)"
            )
        if error.status_code in (401, 403):
            # What the server says may quote the key in part.
            key = "the API key is not right for it" if self._key else "it asks for an API key"
            return EnvironmentFault(f"{self.url}: HTTP {error.status_code}: {key}; set {' or '.join(_KEY_NAMES)}")
        said = shown(_message(error), self._key)
        if error.status_code in (400, 404, 405, 413, 415, 422, 501):
            return RequestRefusedError(f"{self.url}: HTTP {error.status_code}: {said} ({detail})")
        return EnvironmentFault(f"{self.url}: HTTP {error.status_code}: {said}")


def _passes(error: openai.OpenAIError, reached: bool) -> bool:
    """Whether it may go well another time."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return (error.status_code in (408, 409, 425, 429) or error.status_code >= 500) and not (
            error.status_code == 501 or error.code == "insufficient_quota"
        )
    return reached and isinstance(error, openai.APIConnectionError)


def _asked_to_wait_s(error: openai.OpenAIError) -> float | None:
    """Seconds that the server asks to wait (Retry-After)."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked: str = headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdigit() else None


def _message(error: openai.APIStatusError) -> str:
    body: Any = error.body
    told = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    return str(told or error.response.text or error.response.reason_phrase)


def _read_key() -> str | None:
    for name in _KEY_NAMES:
        key = os.environ.get(name, "").strip()
        if key and not (key.isascii() and key.isprintable()):
            raise InputError(f"{name} holds characters that no API key has; set it again")
        if key:
            return key
    return None
