"""The figures of interventions: how to read each, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.report import analysis_figures, effect_figures
from cotlens.report.analysis_exhibits import TESTED, failure_columns
from cotlens.report.columns import (
    interval,
    number,
    real,
    share,
    shift,
    shift_interval,
    words,
)
from cotlens.report.edits import KINDS
from cotlens.report.effect_figures import BALANCED, MOST_PANELS
from cotlens.report.effect_rows import MEASURES, main_effects
from cotlens.report.figure import Column, Figure, NothingToShow
from cotlens.report.tables import Row, unique
from cotlens.report.text import count, decimal, percent, points, points_span, real_span

__all__ = ["balance_figure", "dose_figure", "edit_failure_figure", "effect_figure", "loss_figure", "rest_figure"]

_EFFECT = (
    words("Set", "set"),
    words("Edit", "edit"),
    number("Draws", "draws"),
    number("Questions", "questions"),
    share("Untouched", "untouched"),
    share("Accuracy", "value"),
    interval("Interval", "low", "high"),
    shift("Difference", "difference", 1),
    shift_interval("Interval", "difference_low", "difference_high", 1),
    number("Random sets", "control_draws"),
    share("Random", "random"),
    interval("Band", "random_low", "random_high"),
    shift("Less random", "excess", 1),
    shift_interval("Interval", "excess_low", "excess_high", 1),
    *TESTED,
)
_MARKS = (
    ("point", "set, with interval"),
    ("hollow", "not below 5% after correction"),
    ("band", "random sets"),
)
_UNTOUCHED = ("dashed", "untouched model")


def effect_figure(rows: Sequence[Row], draws: Sequence[Row], confidence: float) -> Figure:
    """Of `effect_rows`, and the draws behind them as `control_draw_rows` gives them."""
    main = _accuracy(main_effects(rows))
    if not main:
        raise NothingToShow("No set was edited, so there is no effect to show.")
    return Figure(
        "effects",
        "Accuracy that remains when a set of neurons is edited, beside matched random sets",
        "A point left of its grey band says that editing the set costs more right answers than editing as many random "
        f"neurons matched to it; the line is a {confidence:.0%} bootstrap interval over questions, the band the middle "
        "of the random sets, each a thin tick, and q the p-value against them, corrected for the number of sets.",
        lambda width: effect_figures.effect_chart(main, _beside(main, draws), width),
        _EFFECT,
        main,
        note=_strongest_note(rows, main) + " The band spans the middle 95% of the random sets, or all of them where "
        "there are fewer than 40. The number of neurons stands in brackets.",
        key=(*_MARKS, ("tick", "one random set"), _UNTOUCHED),
    )


def rest_figure(rows: Sequence[Row], draws: Sequence[Row], confidence: float) -> Figure:
    """Sufficiency: everything but the set is edited."""
    main = _accuracy(main_effects(rows, "rest"))
    if not main:
        raise NothingToShow("No set was tested for sufficiency (intervene.scopes has no “rest”).")
    return Figure(
        "rest",
        "Accuracy that remains when all but a set of neurons is edited",
        "A point right of its grey band says that the set, left alone while all other discovered neurons of its layers "
        f"are edited, saves more right answers than a random set left alone; the line is a {confidence:.0%} bootstrap "
        "interval over questions.",
        lambda width: effect_figures.effect_chart(main, _beside(main, draws), width),
        _EFFECT,
        main,
        key=(*_MARKS, ("tick", "one random set"), _UNTOUCHED),
    )


def dose_figure(curves: Sequence[Row], confidence: float) -> Figure:
    """Of `dose_rows`."""
    if not curves:
        raise NothingToShow("Every set was edited at one dose alone, so there is no curve over doses.")
    kinds = [kind for kind in unique(curves, "kind") if kind in KINDS]
    units = "; ".join(f"{kind}, {KINDS[kind].dose}" for kind in kinds)
    left = len(unique(curves, "panel")) - MOST_PANELS
    note = f"Unit of a dose: {units}."
    note += f" The first {MOST_PANELS} panels are shown; the table has {left} more." if left > 0 else ""
    return Figure(
        "doses",
        "Accuracy over the dose of an edit",
        "Where the solid line falls below the grey band as the dose grows, the set matters more than random sets at "
        f"the same dose; vertical lines are {confidence:.0%} bootstrap intervals over questions.",
        lambda width: effect_figures.dose_chart(curves, width),
        (*_EFFECT[:2], real("Dose", "dose", 3), *_EFFECT[2:]),
        curves,
        note=note,
        key=(
            ("point", "set, with interval"),
            ("hollow", "not below 5% after correction"),
            ("band", "random sets"),
            ("dashed", "their mean"),
            ("dotted", "untouched model"),
        ),
    )


def loss_figure(losses: Sequence[Row], confidence: float) -> Figure:
    """Of `loss_rows`: what tells a model that is broken from one that can't calculate."""
    if not losses:
        raise NothingToShow("No set was edited, so nothing can have been lost.")
    if not {"questions", "perplexity"} & set(unique(losses, "measure")):
        raise NothingToShow(
            "Neither plain text nor other questions were tried under the edits (intervene.specificity is off), so "
            "whether the model is broken or can’t calculate is not told."
        )
    return Figure(
        "losses",
        "Broken, or unable to calculate? What each edit costs, measure by measure",
        "Points far right in every panel mean that the edit breaks the model, points far right of their grey band in "
        "the first panel alone that it can no longer calculate; lines are "
        f"{confidence:.0%} bootstrap intervals, bands random sets.",
        lambda width: effect_figures.loss_chart(losses, width),
        _LOSS,
        losses,
        note="Right answers, stated answers and questions without arithmetic lose points, on one scale; the perplexity "
        "of plain text is multiplied. A point is filled where the loss exceeds that of the random sets with q below "
        "5%.",
        key=(*_MARKS, ("dashed", "nothing lost")),
    )


def edit_failure_figure(rows: Sequence[Row], confidence: float) -> Figure:
    """Of `edit_failure_rows`; the table has every edit, the chart the strongest of each kind."""
    main = [row for row in rows if row["main"]]
    if len(unique(main, "condition")) < 2:
        raise NothingToShow("No set was edited, so there are no failures under an edit.")
    if len({(row["kind"], row["dose"]) for row in main if row["set"] != "none"}) == 1:
        main = [row | {"condition": row["plain"]} for row in main]
    return Figure(
        "edit_failures",
        "How completions end when neurons are edited",
        "Each cell gives the share of completions and, below it, the shift against the untouched model on the same "
        "questions in percentage points; a frame marks a shift whose sign-flip test stays below 5% after correction.",
        lambda width: analysis_figures.failure_chart(main, width),
        (words("Condition", "condition"), *failure_columns()),
        rows,
        note="“random, as …” are the random sets matched to the set above. A set does something of its own where its "
        f"row differs from theirs. Intervals ({confidence:.0%}) stand in the table.",
    )


def balance_figure(rows: Sequence[Row]) -> Figure:
    """Of `balance_rows`."""
    if not any(row["standardised_difference"] is not None for row in rows):
        raise NothingToShow("No random set was drawn, so there is no match to check.")
    return Figure(
        "balance",
        "How well random sets match the set that they stand beside",
        "A point within the grey strip means that set and random sets hardly differ in that respect "
        f"(less than {BALANCED:g} standard deviations); where one lies outside, a difference between them may be due "
        "to it.",
        lambda width: effect_figures.balance_chart(rows, width),
        (
            words("Set", "set"),
            words("Matched on", "matched_on"),
            real("Set’s mean", "target_mean", 3),
            real("Random mean", "random_mean", 3),
            real("Standardised difference", "standardised_difference", 3),
            number("Random sets", "random_sets"),
        ),
        rows,
    )


def _accuracy(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["measure"] == "accuracy" and row["value"] is not None]


def _beside(main: Sequence[Row], draws: Sequence[Row]) -> list[Row]:
    """The random sets of the edits shown."""
    edits = {(row["scope"], row["edit"]) for row in main}
    return [row for row in draws if (row["scope"], row["edit"]) in edits]


def _strongest_note(rows: Sequence[Row], main: Sequence[Row]) -> str:
    """Which doses are not shown."""
    doses = {(row["kind"], row["dose"]) for row in rows if row["scope"] == "set"}
    several = len(doses) > len({(row["kind"], row["dose"]) for row in main})
    return "Of each kind of edit the strongest dose is shown, the others in the next figure." if several else ""


def _measured(row: Row, field: str) -> str:
    """A value in the unit of its measure."""
    if row["measure"] == "perplexity":
        return decimal(row[field])
    return percent(row[field])


_LOSS = (
    words("Set", "set"),
    words("Edit", "edit"),
    Column("Measure", lambda row: MEASURES[row["measure"]], ("measure",), words=True),
    Column("Items", lambda row: count(row["questions"]), ("questions",)),
    Column("Untouched", lambda row: _measured(row, "untouched"), ("untouched",)),
    Column("Edited", lambda row: _measured(row, "value"), ("value",)),
    Column("Random", lambda row: _measured(row, "random"), ("random",)),
    Column("Lost", lambda row: _lost(row, "loss"), ("loss",)),
    Column("Interval", lambda row: _lost_span(row, "loss_low", "loss_high"), ("loss_low", "loss_high")),
    Column(
        "Random band",
        lambda row: _lost_span(row, "random_loss_low", "random_loss_high"),
        ("random_loss_low", "random_loss_high"),
    ),
    *TESTED,
)


def _lost(row: Row, field: str) -> str:
    return f"{decimal(row[field])}×" if row["measure"] == "perplexity" else points(row[field])


def _lost_span(row: Row, low: str, high: str) -> str:
    return real_span(row[low], row[high]) if row["measure"] == "perplexity" else points_span(row[low], row[high])
