"""The texts around the steps at which a neuron is most active."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.explorer.attempt import attempt
from cotlens.explorer.index_records import Context
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record
from cotlens.report.text import readable
from cotlens.tokens import visible

__all__ = ["ShownContext", "read_contexts"]

#: Tokens shown before and after.
_BEFORE, _AFTER = 16, 8


class ShownContext(Record):
    """A step, and the generated text around it. ``rank`` counts from 1 within the layer's top-K.

    The neuron is active at the position that predicts ``token``.
    """

    variant: str
    question_id: str
    step: int
    coefficient: float
    score: float
    rank: int
    before: str
    token: str
    after: str


def read_contexts(opened: OpenedRun, contexts: Sequence[Context]) -> list[ShownContext]:
    """The contexts with their texts; without them in a run that stores no tokens."""
    texts: dict[tuple[str, str], list[str]] = {}
    shown = []
    for found in contexts:
        place = found.variant, found.question_id
        if place not in texts:
            texts[place] = _texts(opened, *place)
        tokens = texts[place]
        before = tokens[max(0, found.step - _BEFORE) : found.step]
        after = tokens[found.step + 1 : found.step + 1 + _AFTER]
        shown.append(
            ShownContext(
                variant=found.variant,
                question_id=found.question_id,
                step=found.step,
                coefficient=found.coefficient,
                score=found.score,
                rank=found.rank + 1,
                before=_on_one_line(before),
                token=visible(tokens[found.step]) if found.step < len(tokens) else "",
                after=_on_one_line(after),
            )
        )
    return shown


def _texts(opened: OpenedRun, variant: str, question_id: str) -> list[str]:
    found = attempt(lambda: opened.tokens(variant, question_id)["text"].to_list()).value
    return found or []


def _on_one_line(tokens: Sequence[str]) -> str:
    return readable("".join(tokens).replace("\n", " ↵ "))
