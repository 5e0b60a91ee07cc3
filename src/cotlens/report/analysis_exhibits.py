"""The figures of roles, differences, correctness and failures, with how to read them and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.report import analysis_figures, frequency_figures
from cotlens.report.exhibits import Figure, Table, comparison_cells
from cotlens.report.tables import Row, unique
from cotlens.report.text import count, decimal, percent, span

__all__ = ["correctness_figure", "difference_figure", "failure_figure", "role_figure"]


def role_figure(rows: Sequence[Row], variant: str) -> Figure:
    head = ("Concept", "Role", "Neurons", "Frequency", "Interval", "Random", "Band", "Draws", "Ratio", "Apart")
    extra = ("Any", "Positive", "Negative", "Other sign")
    table = [
        (*comparison_cells(row), *(percent(row[name], 2) for name in ("any", "positive", "negative", "opposite")))
        for row in rows
    ]
    return Figure(
        "roles",
        f"Activation frequency by the role of the token that is generated, under {variant}",
        "Each cell gives the share of neuron-steps at which the concept’s neurons are active while a token of that "
        "role is generated and, below it, how many times that of matched random neurons; a frame marks a cell whose "
        "whole interval lies outside the random band, and the number of tokens stands in brackets.",
        lambda width: frequency_figures.heat_map(rows, width),
        Table(head + extra, table, names=2),
    )


def difference_figure(rows: Sequence[Row], confidence: float) -> Figure:
    reference = rows[0]["reference"]
    forced = "forced" in unique(rows, "contrast")
    head = (
        "Concept", "Variant", "Contrast", "Questions", "Difference", "Interval", "p", "q", "Random", "Band",
    )  # fmt: skip
    table = [
        (row["label"], row["variant"], row["contrast"], count(row["questions"]), _points(row["difference"]),
         _points_span(row["low"], row["high"]), decimal(row["p_value"], 4), decimal(row["q_value"], 4),
         _points(row["random_difference"]), _points_span(row["random_low"], row["random_high"]))
        for row in rows
    ]  # fmt: skip
    read = (
        f"A point right of zero is more frequent than under {reference} on the same questions; the line is a "
        f"{confidence:.0%} bootstrap interval over questions, the band holds the same difference of {confidence:.0%} "
        "of the random sets, and a point is filled where the sign-flip test stays below 5% after correction for the "
        "number of concepts and variants."
    )
    marks = [("point", "each variant’s own text"), ("hollow", "not below 5% after correction"), ("band", "random sets")]
    if forced:
        read += (
            f" Diamonds compare the prompts alone: the same text, {reference}’s completions, was read after every "
            "prompt. What a circle has beyond its diamond is due to the texts."
        )
        marks.insert(1, ("diamond", "the same text after either prompt"))
    return Figure(
        "differences",
        f"Difference in activation frequency against {reference}, on the same questions",
        read,
        lambda width: analysis_figures.difference_chart(rows, width),
        Table(head, table, names=3),
        key=tuple(marks),
    )


def correctness_figure(rows: Sequence[Row], confidence: float) -> Figure:
    head = (
        "Variant", "Concept", "Answers", "Right", "Area", "Interval", "Random", "Band", "Slope", "Interval", "p", "q",
        "Slope at equal length", "Interval",
    )  # fmt: skip
    table = [
        (row["variant"], row["label"], count(row["completions"]), count(row["correct"]), decimal(row["auc"]),
         _plain_span(row["auc_low"], row["auc_high"]), decimal(row["random_auc"]),
         _plain_span(row["random_auc_low"], row["random_auc_high"]), decimal(row["slope"], 3),
         _plain_span(row["slope_low"], row["slope_high"], 3), decimal(row["p_value"], 4), decimal(row["q_value"], 4),
         decimal(row["adjusted_slope"], 3), _plain_span(row["adjusted_low"], row["adjusted_high"], 3))
        for row in rows
    ]  # fmt: skip
    return Figure(
        "correctness",
        "Does activity tell right answers from wrong ones?",
        "The point is how often, of a right and a wrong answer under the same variant, the right one has the more "
        f"active neurons of a concept; the line is a {confidence:.0%} bootstrap interval over questions (left out "
        "where fewer than five answers are right, or wrong), and the band what random sets reach. The slope in the "
        "table is the change in the probability of a right answer per standard deviation of activity. A narrow figure "
        "shows all variants together, the table each.",
        lambda width: analysis_figures.correctness_chart(rows, width),
        Table(head, table, names=2),
        key=(("point", "concept, with interval"), ("band", "random sets")),
    )


def failure_figure(name: str, title: str, rows: Sequence[Row], reference: str, confidence: float) -> Figure:
    head = ("Condition", "Class", "Completions", "Share", "Interval", "Shift", "Interval", "p", "q")
    table = [
        (row["condition"], row["kind_name"], count(row["completions"]), percent(row["share"]),
         span(row["low"], row["high"]), _points(row["difference"], 1),
         _points_span(row["difference_low"], row["difference_high"], 1), decimal(row["p_value"], 4),
         decimal(row["q_value"], 4))
        for row in rows
    ]  # fmt: skip
    return Figure(
        name,
        title,
        f"Each cell gives the share of completions and, below it, the shift against {reference} on the same questions "
        "in percentage points; a frame marks a shift whose sign-flip test stays below 5% after correction. Intervals "
        f"({confidence:.0%}) stand in the table.",
        lambda width: analysis_figures.failure_chart(rows, width),
        Table(head, table, names=2),
    )


def _points(share: float | None, digits: int = 2) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "–" if share is None else f"{100 * share:+.{digits}f}".replace("-", "−")


def _points_span(low: float | None, high: float | None, digits: int = 2) -> str:
    return "–" if low is None or high is None else f"{_points(low, digits)} to {_points(high, digits)}"


def _plain_span(low: float | None, high: float | None, digits: int = 2) -> str:
    if low is None or high is None:
        return "–"
    return f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "−")
