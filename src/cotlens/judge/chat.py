"""The seam to a server: what is sent, what comes back. A provider is one small class that does this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

__all__ = ["ChatReply", "ChatRequest", "Message", "Options", "Provider"]


class Message(NamedTuple):
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Options:
    """Which parameters are used; servers and models differ in what they take.

    ``limit`` is the name under which the length of the reply is limited. ``adapted`` tells what was changed because
    the server refused it.
    """

    limit: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    temperature: bool = True
    form: Literal["json_schema", "json_object", "none"] = "json_schema"
    adapted: tuple[str, ...] = ()

    def without(self, parameter: str) -> Options | None:
        """What to try after a refusal of ``parameter``, as an `UnsupportedFault` names it; None if nothing is left."""
        if parameter == "temperature" and self.temperature:
            return replace(self, temperature=False, adapted=(*self.adapted, "temperature left out"))
        if parameter == "limit" and not any(self.limit in change for change in self.adapted):
            other: Literal["max_completion_tokens", "max_tokens"] = (
                "max_tokens" if self.limit == "max_completion_tokens" else "max_completion_tokens"
            )
            return replace(self, limit=other, adapted=(*self.adapted, f"{self.limit} sent as {other}"))
        if parameter == "response_format" and self.form != "none":
            form: Literal["json_object", "none"] = "json_object" if self.form == "json_schema" else "none"
            return replace(self, form=form, adapted=(*self.adapted, f"response format {self.form} replaced by {form}"))
        return None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request. ``schema`` is the JSON schema of the reply."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any]
    max_tokens: int
    temperature: float
    options: Options


@dataclass(frozen=True, slots=True)
class ChatReply:
    """``end`` says why the text ended. The numbers of tokens are None where the server does not tell them."""

    text: str
    end: Literal["complete", "cut", "refused"]
    input_tokens: int | None
    output_tokens: int | None


class Provider(Protocol):
    """Sends a request and returns the reply, in one attempt, without retries."""

    options: Options
    """What to begin with."""

    def send(self, request: ChatRequest) -> ChatReply:
        """
        Raises:
            Fault: nothing came back that can be used; its type says what to do about it.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
