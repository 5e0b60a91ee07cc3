"""What a judge is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Judge", "Judgement", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a judge: does a neuron that promotes ``tokens`` carry the concept?

    ``tokens`` are the texts of the promoted tokens, strongest first. ``words`` is the concept's vocabulary, which
    the offline judge goes by; ``text`` is the question in words, for a judge that reads.
    """

    concept: str
    text: str
    words: frozenset[str]
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's reply. ``verdict`` is None unless ``status`` is ``ok``; a failure never becomes a verdict."""

    status: Literal["ok", "refused", "unparsed", "failed"]
    verdict: bool | None
    reason: str
    raw: str
    tokens: int = 0
    cost_usd: float = 0.0


class Judge(Protocol):
    """Answers questions. ``name`` identifies it in every record."""

    name: str

    def ask(self, question: Question) -> Judgement:
        """Answer one question."""
        ...
