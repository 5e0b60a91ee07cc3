"""A text with its steps, and what is wrong with some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cotlens.errors import InputError
from cotlens.model.language_model import LanguageModel

__all__ = ["Passage", "check_length"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Token ids of a prompt and its completion; the prompt is the first ``prompt_length``."""

    token_ids: Sequence[int]
    prompt_length: int

    @property
    def steps(self) -> int:
        """Number of generated tokens, ``T``."""
        return len(self.token_ids) - self.prompt_length

    @property
    def targets(self) -> list[int]:
        """The generated tokens."""
        return list(self.token_ids[self.prompt_length :])

    def check(self, lm: LanguageModel) -> None:
        """Raise an `InputError` if there is no prompt, no step, or an id that ``lm`` can't read."""
        if self.prompt_length < 1 or self.steps < 1:
            raise InputError(
                f"{len(self.token_ids)} tokens with a prompt of {self.prompt_length}: the prompt needs at least one "
                "token, and at least one more must follow it"
            )
        vocabulary = lm.input_vocabulary
        if not all(0 <= token < vocabulary for token in self.token_ids):
            raise InputError(f"a token id is out of range; {lm.name} has ids 0 to {vocabulary - 1}")
        check_length(lm, len(self.token_ids) - 1, "the text")


def check_length(lm: LanguageModel, tokens: int, what: str) -> None:
    """Raise an `InputError` if the model can't read so many tokens."""
    if lm.context_length is not None and tokens > lm.context_length:
        raise InputError(f"{what} is {tokens} tokens long; {lm.name} reads at most {lm.context_length}")
