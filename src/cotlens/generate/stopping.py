"""When a completion ends, and what of it counts."""

from __future__ import annotations

from dataclasses import dataclass

from cotlens.model.language_model import LanguageModel
from cotlens.types import StopReason

__all__ = ["StopRule", "Stopped"]


@dataclass(frozen=True, slots=True)
class Stopped:
    token_ids: tuple[int, ...]
    text: str
    reason: StopReason


class StopRule:
    """Stops at the first stop string, at an end-of-sequence token, or at the length."""

    def __init__(self, lm: LanguageModel, stop: tuple[str, ...], max_new_tokens: int) -> None:
        self._lm = lm
        self._stop = tuple(text for text in stop if text)
        self.max_new_tokens = max_new_tokens

    def check(self, generated: list[int]) -> Stopped | None:
        """Whether ``generated`` ends with its last token; earlier tokens were checked before."""
        if generated[-1] in self._lm.stop_ids:
            kept = generated[:-1]
            return Stopped(tuple(kept), self._lm.decode(kept), "eos")
        text = self._lm.decode(generated)
        cut = min((place for stop in self._stop if (place := text.find(stop)) >= 0), default=-1)
        if cut >= 0:
            return Stopped(self._tokens_before(generated, cut), text[:cut], "stop")
        if len(generated) >= self.max_new_tokens:
            return Stopped(tuple(generated), text, "length")
        return None

    def _tokens_before(self, generated: list[int], cut: int) -> tuple[int, ...]:
        """The tokens that begin before character ``cut``."""
        count = len(generated)
        while count > 0 and len(self._lm.decode(generated[: count - 1])) >= cut:
            count -= 1
        return tuple(generated[:count])
