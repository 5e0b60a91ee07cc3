"""What is sent to a completions server, and what of its answers is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EXTRAS", "Choice", "Models", "Reply", "Request"]

#: Beyond OpenAI's own parameters: known to vLLM, in part to others, and refused by some.
EXTRAS: dict[str, Any] = {
    "return_token_ids": True,
    "include_stop_str_in_output": True,
    "repetition_penalty": 1.0,  # servers take another default from a checkpoint's generation settings
}


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be continued greedily; ``prompt`` is token ids or text."""

    model: str
    prompt: Sequence[int] | str
    max_tokens: int
    stop: Sequence[str] = ()
    extras: dict[str, Any] = field(default_factory=dict)


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Choice(_Message):
    """A completion as the server gives it."""

    text: str
    finish_reason: Literal["stop", "length"]
    token_ids: list[int] | None = None
    """What the model generated, its end token possibly included (vLLM)."""
    prompt_token_ids: list[int] | None = None
    """The prompt as the server read it (vLLM)."""
    stop_reason: str | int | None = None
    """The stop string, or the end token if it is not the usual one (vLLM)."""
    matched_stop: str | int | None = None
    """The stop string or the end token (SGLang)."""

    @property
    def stopped_by(self) -> Literal["stop", "eos"] | None:
        """What ended a completion whose ``finish_reason`` is ``stop``; None where the server does not tell."""
        matched = self.stop_reason if self.matched_stop is None else self.matched_stop
        if isinstance(matched, str):
            return "stop"
        if isinstance(matched, int) or "stop_reason" in self.model_fields_set:
            return "eos"
        return None


class _Usage(_Message):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Reply(_Message):
    """The answer to a `Request`."""

    choices: list[Choice] = Field(min_length=1)
    usage: _Usage | None = None

    @property
    def choice(self) -> Choice:
        return self.choices[0]

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, as the server counts them."""
        return self.usage.prompt_tokens if self.usage else None

    @property
    def completion_tokens(self) -> int | None:
        """Tokens generated, as the server counts them."""
        return self.usage.completion_tokens if self.usage else None


class _Model(_Message):
    id: str


class Models(_Message):
    """The answer to a request for the list of models."""

    data: list[_Model]
