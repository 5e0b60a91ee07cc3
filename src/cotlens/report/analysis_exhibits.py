"""The figures of roles, differences, correctness and failures: how to read each, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.report import analysis_figures, frequency_figures
from cotlens.report.columns import (
    interval,
    number,
    real,
    real_interval,
    share,
    shift,
    shift_interval,
    words,
)
from cotlens.report.exhibits import FREQUENCY_COLUMNS
from cotlens.report.figure import Column, Figure
from cotlens.report.tables import Row, unique

__all__ = ["TESTED", "correctness_figure", "difference_figure", "failure_columns", "failure_figure", "role_figure"]

#: A test and its correction for the number of tests.
TESTED = (real("p", "p_value", 4), real("q", "q_value", 4))


def role_figure(rows: Sequence[Row], variant: str) -> Figure:
    concept = Column("Concept", lambda row: row["label"].rpartition(" (")[0], ("concept",), words=True)
    role = Column("Role", lambda row: row["variant"], ("role",), words=True)
    measures = (("Any", "any"), ("Positive", "positive"), ("Negative", "negative"), ("Other sign", "opposite"))
    return Figure(
        "roles",
        f"Activation frequency by the role of the token that is generated, under {variant}",
        "Each cell gives the share of neuron-steps at which the concept’s neurons are active while a token of that "
        "role is generated and, below it, how many times that of matched random neurons; a frame marks a cell whose "
        "whole interval lies outside the random band, and the number of tokens stands in brackets.",
        lambda width: frequency_figures.heat_map(rows, width),
        (concept, role, *FREQUENCY_COLUMNS, *(share(head, field, 2) for head, field in measures)),
        rows,
    )


def difference_figure(rows: Sequence[Row], confidence: float) -> Figure:
    reference = rows[0]["reference"]
    marks = [("point", "each variant’s own text"), ("hollow", "not below 5% after correction"), ("band", "random sets")]
    note = ""
    if "forced" in unique(rows, "contrast"):
        note = (
            f"Diamonds compare the prompts alone: the same text, {reference}’s completions, was read after every "
            "prompt. What a circle has beyond its diamond is due to the texts."
        )
        marks.insert(1, ("diamond", "the same text after either prompt"))
    return Figure(
        "differences",
        f"Difference in activation frequency against {reference}, on the same questions",
        f"A point right of zero is more frequent than under {reference} on the same questions; the line is a "
        f"{confidence:.0%} bootstrap interval over questions, the band holds the same difference of {confidence:.0%} "
        "of the random sets, and a point is filled where the sign-flip test stays below 5% after correction for the "
        "number of concepts and variants.",
        lambda width: analysis_figures.difference_chart(rows, width),
        (
            words("Concept", "label"),
            words("Variant", "variant"),
            words("Contrast", "contrast"),
            number("Questions", "questions"),
            shift("Difference", "difference"),
            shift_interval("Interval", "low", "high"),
            *TESTED,
            shift("Random", "random_difference"),
            shift_interval("Band", "random_low", "random_high"),
        ),
        rows,
        note=note,
        key=tuple(marks),
    )


def correctness_figure(rows: Sequence[Row], confidence: float) -> Figure:
    return Figure(
        "correctness",
        "Does activity tell right answers from wrong ones?",
        "The point is how often, of a right and a wrong answer under the same variant, the right one has the more "
        f"active neurons of a concept; the line is a {confidence:.0%} bootstrap interval over questions, and the band "
        "what random sets reach.",
        lambda width: analysis_figures.correctness_chart(rows, width),
        (
            words("Variant", "variant"),
            words("Concept", "label"),
            number("Answers", "completions"),
            number("Right", "correct"),
            real("Area", "auc"),
            real_interval("Interval", "auc_low", "auc_high"),
            real("Random", "random_auc"),
            real_interval("Band", "random_auc_low", "random_auc_high"),
            real("Slope", "slope", 3),
            real_interval("Interval", "slope_low", "slope_high", 3),
            *TESTED,
            real("Slope at equal length", "adjusted_slope", 3),
            real_interval("Interval", "adjusted_low", "adjusted_high", 3),
        ),
        rows,
        note="Intervals are left out where fewer than five answers are right, or wrong. The slope in the table is the "
        "change in the probability of a right answer per standard deviation of activity. A narrow figure shows all "
        "variants together, the table each.",
        key=(("point", "concept, with interval"), ("band", "random sets")),
    )


def failure_figure(rows: Sequence[Row], reference: str, confidence: float) -> Figure:
    return Figure(
        "failures",
        "How completions end under each variant",
        f"Each cell gives the share of completions and, below it, the shift against {reference} on the same questions "
        "in percentage points; a frame marks a shift whose sign-flip test stays below 5% after correction.",
        lambda width: analysis_figures.failure_chart(rows, width),
        (words("Condition", "condition"), *failure_columns()),
        rows,
        note=f"Intervals ({confidence:.0%}) stand in the table.",
    )


def failure_columns() -> tuple[Column, ...]:
    """Class, share and shift, after the columns that name the condition."""
    return (
        words("Class", "kind_name"),
        number("Completions", "completions"),
        share("Share", "share"),
        interval("Interval", "low", "high"),
        shift("Shift", "difference", 1),
        shift_interval("Interval", "difference_low", "difference_high", 1),
        *TESTED,
    )
