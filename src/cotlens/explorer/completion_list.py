"""The list of completions: filtered, sorted, a page at a time."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from cotlens.analyze.failures import CLASSES
from cotlens.explorer.completions import with_failures
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.queries import Text
from cotlens.explorer.records import Choice, Page, Record

__all__ = ["CompletionFilter", "CompletionList", "CompletionRow", "list_completions"]

_SEARCHED = ("question_id", "question", "text")


class CompletionFilter(Record):
    """Which completions are listed."""

    variant: Text = ""
    correct: Literal["", "yes", "no"] = ""
    failure: Text = ""
    """A class of failures, as in ``analysis/failures.parquet``."""
    text: Text = ""
    """Words that stand in the question, in the text or in the id."""
    sort: Literal["order", "question_id", "variant", "steps", "correct", "failure"] = "order"
    descending: bool = False


class CompletionRow(Record):
    variant: str
    question_id: str
    question: str
    gold: str | None
    answer: str | None
    correct: bool
    failure: str
    """What its class is called; empty in a run that is not analysed."""
    steps: int
    text: str


class CompletionList(Record):
    rows: list[CompletionRow]
    page: Page
    variants: list[Choice]
    failures: list[Choice]


def list_completions(opened: OpenedRun, wanted: CompletionFilter, number: int = 1, size: int = 50) -> CompletionList:
    """The completions that fit ``wanted``, a page of them."""
    rows = with_failures(opened)
    found = _sorted(_filtered(rows, wanted), wanted)
    page = Page(number=number, size=size, total=found.height)
    return CompletionList(
        rows=[_row(row) for row in found.slice(page.first, size).iter_rows(named=True)],
        page=page,
        variants=[
            Choice(value=variant, label=variant, count=rows.filter(variant=variant).height)
            for variant in opened.variants
        ],
        failures=[
            Choice(value=name, label=label, count=count)
            for name, label in CLASSES.items()
            if (count := rows.filter(failure=name).height)
        ],
    )


def _filtered(rows: pl.DataFrame, wanted: CompletionFilter) -> pl.DataFrame:
    if wanted.variant:
        rows = rows.filter(pl.col("variant") == wanted.variant)
    if wanted.correct in ("yes", "no"):
        rows = rows.filter(pl.col("correct") == (wanted.correct == "yes"))
    if wanted.failure:
        rows = rows.filter(pl.col("failure") == wanted.failure)
    for word in wanted.text.lower().split():
        inside = (pl.col(name).str.to_lowercase().str.contains(word, literal=True) for name in _SEARCHED)
        rows = rows.filter(pl.any_horizontal(inside))
    return rows


def _sorted(rows: pl.DataFrame, wanted: CompletionFilter) -> pl.DataFrame:
    if wanted.sort == "order":
        return rows.reverse() if wanted.descending else rows
    return rows.sort(wanted.sort, descending=wanted.descending, nulls_last=True, maintain_order=True)


def _row(row: dict[str, Any]) -> CompletionRow:
    return CompletionRow.model_validate(
        {name: row[name] for name in ("variant", "question_id", "question", "gold", "correct", "steps", "text")}
        | {"answer": row["answer_strict"], "failure": CLASSES.get(row["failure"] or "", "")}
    )
