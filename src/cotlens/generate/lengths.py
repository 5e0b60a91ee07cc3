"""Whether prompts fit in a model's context together with what is to be generated."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.errors import InputError
from cotlens.model.reading import ReadsPrompts

__all__ = ["check_lengths", "fits"]


def check_lengths(
    lm: ReadsPrompts, encoded: Sequence[Sequence[int]], max_new_tokens: int, names: Sequence[str] | None = None
) -> None:
    """Raise an `InputError` for a prompt that is empty, or too long for the model's context with its new tokens."""
    for index, ids in enumerate(encoded):
        name = f"prompt {index}" if names is None else f"{names[index]}: the prompt"
        if not ids:
            raise InputError(f"{name} is empty, and the tokenizer adds no token of its own")
        if not fits(lm, ids, max_new_tokens):
            raise InputError(
                f"{name} has {len(ids)} tokens; with {max_new_tokens} new ones it exceeds the context of "
                f"{lm.context_length} tokens; use fewer shots or a smaller generate.max_new_tokens"
            )


def fits(lm: ReadsPrompts, ids: Sequence[int], max_new_tokens: int) -> bool:
    """Whether a prompt and its new tokens stay within the model's context."""
    return lm.context_length is None or len(ids) + max_new_tokens <= lm.context_length
