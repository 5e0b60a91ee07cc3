"""One completion: its tokens, its equations executed, and its neighbours."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from typing import Any

import polars as pl

from cotlens.analyze.failures import CLASSES, executed_equations
from cotlens.data.arithmetic import plain_number
from cotlens.errors import InputError, near_match
from cotlens.explorer.attempt import attempt
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record
from cotlens.report.walkthrough import GLOSSES
from cotlens.tokens import visible

__all__ = [
    "Completion",
    "Neighbour",
    "ShownEquation",
    "Token",
    "find_names",
    "read_completion",
    "with_failures",
]


class Token(Record):
    """A generated token. ``breaks`` are the line breaks in it; ``gloss`` stands over it."""

    step: int
    text: str
    shown: str
    breaks: int
    role: str
    gloss: str
    equation: int | None
    """Which of the equations it is part of."""


class ShownEquation(Record):
    """An equation of the text, executed."""

    expression: str
    stated: str
    value: str
    holds: bool


class Neighbour(Record):
    """The same question under another variant, or another question under this one."""

    variant: str
    question_id: str
    correct: bool


class Completion(Record):
    variant: str
    question_id: str
    question: str
    gold: str | None
    text: str
    answer: str | None
    answer_flexible: str | None
    correct: bool
    failure: str
    stop_reason: str
    prompt_tokens: int
    steps: int
    stated: str | None
    """What the model wrote when it was asked once more for its answer."""
    tokens: list[Token]
    equations: list[ShownEquation]
    variants: list[Neighbour]
    previous: Neighbour | None
    next: Neighbour | None


def read_completion(opened: OpenedRun, variant: str, question_id: str) -> Completion:
    """One completion.

    Raises:
        InputError: there is none of that name.
    """
    variant, question_id = find_names(opened, variant, question_id)
    rows = with_failures(opened)
    own, asked = rows.filter(variant=variant), rows.filter(question_id=question_id)
    place = own["question_id"].to_list().index(question_id)
    row = own.row(place, named=True)
    equations = list(executed_equations(row["text"]))
    return Completion(
        variant=variant,
        question_id=question_id,
        question=row["question"],
        gold=row["gold"],
        text=row["text"],
        answer=row["answer_strict"],
        answer_flexible=row["answer_flexible"],
        correct=row["correct"],
        failure=CLASSES.get(row["failure"] or "", ""),
        stop_reason=row["stop_reason"],
        prompt_tokens=row["prompt_length"],
        steps=row["steps"],
        stated=row.get("stated"),
        tokens=_tokens(opened, row, [(e.equation.start, e.equation.end) for e in equations]),
        equations=[
            ShownEquation(
                expression=e.equation.expression, stated=e.equation.result, value=_number(e.value), holds=e.holds
            )
            for e in equations
        ],
        variants=_in_order(opened, [_neighbour(other) for other in asked.iter_rows(named=True)]),
        previous=_neighbour(own.row(place - 1, named=True)) if place else None,
        next=_neighbour(own.row(place + 1, named=True)) if place + 1 < own.height else None,
    )


def find_names(opened: OpenedRun, variant: str, question_id: str) -> tuple[str, str]:
    """Variant and question as the run has them; a slash that an address had to escape is one again.

    Raises:
        InputError: there is no such completion.
    """
    rows = opened.completions()
    for name in dict.fromkeys((variant, variant.replace("%2F", "/"))):
        under = rows.filter(variant=name)
        for question in dict.fromkeys((question_id, question_id.replace("%2F", "/"))):
            if under.filter(question_id=question).height:
                return name, question
        if under.height:
            raise InputError(f"no question {question_id!r} under variant {name!r}")
    raise InputError(f"no variant {variant!r}{near_match(variant, rows['variant'].unique().to_list())}")


def with_failures(opened: OpenedRun) -> pl.DataFrame:
    """The completions, in the order of the run, with the class of each."""

    def make() -> pl.DataFrame:
        rows = opened.completions()
        order = pl.Enum([*opened.variants, *sorted(set(rows["variant"].unique()) - set(opened.variants))])
        rows = rows.sort(pl.col("variant").cast(order), maintain_order=True)
        classes = attempt(lambda: opened.analysis("failures").select("variant", "question_id", failure="class")).value
        if classes is None:
            return rows.with_columns(failure=pl.lit(None, pl.String))
        return rows.join(classes, on=["variant", "question_id"], how="left", maintain_order="left")

    return opened.keep("completions with failures", make)


def _tokens(opened: OpenedRun, row: dict[str, Any], equations: list[tuple[int, int]]) -> list[Token]:
    """The tokens as stored; none in a run that stores no tokens."""
    stored = attempt(lambda: opened.tokens(row["variant"], row["question_id"])).value
    if stored is None:
        return []
    starts = [start for start, _ in equations]
    shown: list[Token] = []
    for step, token in enumerate(stored.iter_rows(named=True)):
        # The last equation that begins before the token ends.
        place = bisect_right(starts, token["end"] - 1) - 1
        inside = place >= 0 and token["start"] < equations[place][1] and token["end"] > token["start"]
        role = token["role"]
        continues = bool(shown) and shown[-1].role == role
        shown.append(
            Token(
                step=step,
                text=token["text"],
                shown=visible(token["text"]) if token["text"] else f"‹{token['token_id']}›",
                breaks=token["text"].count("\n"),
                role=role,
                gloss="" if continues else GLOSSES.get(role, ""),
                equation=place if inside else None,
            )
        )
    return shown


def _number(value: Fraction) -> str:
    try:
        return plain_number(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a very long number"


def _neighbour(row: dict[str, Any]) -> Neighbour:
    return Neighbour.model_validate({name: row[name] for name in ("variant", "question_id", "correct")})


def _in_order(opened: OpenedRun, found: list[Neighbour]) -> list[Neighbour]:
    order = {variant: place for place, variant in enumerate(opened.variants)}
    return sorted(found, key=lambda neighbour: order.get(neighbour.variant, len(order)))
