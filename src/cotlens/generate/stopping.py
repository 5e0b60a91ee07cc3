"""When a completion ends, and what of it counts."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Stops at the first stop string, at an end-of-sequence token unless told otherwise, or at the length.

    Without ``stop_at_end`` the tokens go on after an end token, and are kept. The text is what comes before the first
    one, and ``eos`` is why it ended: what a model writes after its end is no answer.
    """

    def __init__(self, lm: LanguageModel, stop: Sequence[str], max_new_tokens: int, stop_at_end: bool = True) -> None:
        self._lm = lm
        self._stop = tuple(text for text in stop if text)
        self._stop_at_end = stop_at_end
        self.max_new_tokens = max_new_tokens

    def check(self, generated: list[int]) -> Stopped | None:
        """Whether ``generated`` ends with its last token; earlier tokens were checked before."""
        if self._stop_at_end and generated[-1] in self._lm.stop_ids:
            kept = generated[:-1]
            return Stopped(tuple(kept), self._lm.decode(kept), "eos")
        text = self._lm.decode(generated)
        cut = min((place for stop in self._stop if (place := text.find(stop)) >= 0), default=-1)
        if cut >= 0:
            return self._at_first_end(Stopped(self._tokens_before(generated, cut), text[:cut], "stop"))
        if len(generated) >= self.max_new_tokens:
            return self._at_first_end(Stopped(tuple(generated), text, "length"))
        return None

    def _at_first_end(self, stopped: Stopped) -> Stopped:
        """The text up to the first end token, where tokens went on after one."""
        ids = stopped.token_ids
        end = next((place for place, token in enumerate(ids) if token in self._lm.stop_ids), None)
        return stopped if end is None else Stopped(ids, self._lm.decode(list(ids[:end])), "eos")

    def _tokens_before(self, generated: list[int], cut: int) -> tuple[int, ...]:
        """The tokens that begin before character ``cut``."""
        count = len(generated)
        while count > 0 and len(self._lm.decode(generated[: count - 1])) >= cut:
            count -= 1
        return tuple(generated[:count])
