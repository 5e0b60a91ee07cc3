"""The figures of accuracy, activation frequency, layers and steps: how to read each, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.report import figures, frequency_figures
from cotlens.report.columns import interval, number, real, share, words
from cotlens.report.figure import Column, Figure, Table
from cotlens.report.figures import FEW
from cotlens.report.tables import Row, unique
from cotlens.report.text import NOTHING, count, decimal, percent

__all__ = [
    "FREQUENCY_COLUMNS",
    "accuracy_figure",
    "comparison_figure",
    "heat_figure",
    "layer_figure",
    "prompt_table",
    "step_figure",
]

#: What is said of a prompt in numbers.
_PROMPT_COLUMNS = (
    Column("Prompt tokens", lambda row: decimal(row["prompt_tokens"], 0), ("prompt_tokens",)),
    number("Shots", "demonstrations"),
    number("Lines", "lines"),
    number("Equations", "equations"),
    Column(
        "Stages", lambda row: count(None if row["two_stage"] is None else 1 + row["two_stage"]), ("two_stage",)
    ),
)  # fmt: skip

#: A concept's frequency beside that of its random sets, after the columns that name the row.
FREQUENCY_COLUMNS = (
    number("Neurons", "neurons"),
    share("Frequency", "frequency", 2),
    interval("Interval", "low", "high", 2),
    share("Random", "random", 2),
    interval("Band", "random_low", "random_high", 2),
    Column("Draws", lambda row: count(row["draws"] or 0), ("draws",)),
    Column("Ratio", lambda row: NOTHING if row["ratio"] is None else f"{row['ratio']:.2f}×", ("ratio",)),
    Column("Apart", lambda row: row["apart"] or "no", ("apart",)),
)


def accuracy_figure(rows: Sequence[Row], confidence: float) -> Figure:
    return Figure(
        "accuracy",
        "Accuracy under each prompt variant",
        f"The point is the share of questions whose stated answer is right, the line its {confidence:.0%} Wilson "
        "interval; two variants whose lines overlap are not told apart by this figure.",
        lambda width: figures.accuracy_chart(rows, width),
        (
            words("Variant", "variant"),
            number("Correct", "correct"),
            number("Questions", "questions"),
            share("Accuracy", "accuracy"),
            interval("Interval", "low", "high"),
            share("Last number", "accuracy_flexible"),
            share("Answered", "answered"),
            share("Cut off", "cut_off"),
            real("Mean tokens", "mean_tokens", 1),
            *_PROMPT_COLUMNS,
        ),
        rows,
        key=(("point", "accuracy, with interval"),),
    )


def prompt_table(rows: Sequence[Row]) -> Table:
    """Accuracy beside what each prompt holds."""
    table = [
        (row["variant"], percent(row["accuracy"]), *(column.cell(row) for column in _PROMPT_COLUMNS)) for row in rows
    ]
    return Table(("Variant", "Accuracy", *(column.head for column in _PROMPT_COLUMNS)), table)


def heat_figure(rows: Sequence[Row]) -> Figure:
    return Figure(
        "heat",
        "Activation frequency of each concept’s neurons, relative to random neurons",
        "Each cell gives the share of neuron-steps at which the concept’s neurons are active and, below it, how many "
        "times that of matched random neurons; a frame marks a cell whose whole interval lies outside the random band "
        "of the next figure, and the number of neurons stands in brackets.",
        lambda width: frequency_figures.heat_map(rows, width),
        _frequency_columns(),
        rows,
    )


def comparison_figure(rows: Sequence[Row], confidence: float) -> Figure:
    return Figure(
        "comparison",
        "Activation frequency of each concept against matched random neurons",
        "A point right of its grey band is more frequent than random neurons of the same layers and signs; the line "
        f"is a {confidence:.0%} bootstrap interval over questions, the band spans {confidence:.0%} of the random sets.",
        lambda width: frequency_figures.comparison_chart(rows, width),
        _frequency_columns(),
        rows,
        key=(("point", "concept, with interval"), ("band", "random sets"), ("tick", "their mean")),
    )


def layer_figure(rows: Sequence[Row], concepts: Sequence[str], n_layers: int, lowest: int) -> Figure:
    counts = {(row["layer"], row["concept"]): row["neurons"] for row in rows}
    table = [
        {"layer": layer} | {concept: counts.get((layer, concept), 0) for concept in concepts}
        for layer in range(n_layers)
        if any((layer, concept) in counts for concept in concepts)
    ]
    grey = "the grey layer" if lowest == 1 else f"the {lowest} grey layers"
    grey += f" at the bottom of the model {'was' if lowest == 1 else 'were'}"
    return Figure(
        "layers",
        "Labelled neurons in each layer, by concept",
        "The darker a tile, the more labelled neurons a concept has in that layer, where a neuron with two concepts "
        "counts for each" + (f"; {grey} not labelled." if lowest else "."),
        lambda width: figures.layer_chart(rows, concepts, n_layers, lowest, width),
        (words("Layer", "layer"), *(number(concept, concept) for concept in concepts)),
        table,
    )


def step_figure(rows: Sequence[Row]) -> Figure:
    single = (
        "thick lines are means over five steps, thin ones single steps, which have no interval and vary by chance"
        if len(unique(rows, "variant")) <= FEW
        else "lines are means over five steps and have no interval, so they vary by chance"
    )
    return Figure(
        "steps",
        "Activation frequency of all reasoning neurons along the answer",
        "Where the solid line lies above the dashed one, reasoning neurons are more active than random ones at that "
        f"point of the answer; {single}, and steps that under a quarter of the answers reach are left out.",
        lambda width: figures.step_chart(rows, width),
        (
            words("Variant", "variant"),
            Column("Neurons", lambda row: "reasoning" if row["set"] == "concept" else "random", ("set",), words=True),
            number("Step", "step"),
            number("Answers", "steps"),
            share("Frequency", "frequency", 2),
            share("Mean of five", "smooth", 2),
        ),
        rows,
        key=(("line", "reasoning neurons"), ("dashed", "random neurons")),
    )


def _frequency_columns() -> tuple[Column, ...]:
    concept = Column("Concept", lambda row: row["label"].rpartition(" (")[0], ("concept",), words=True)
    return (concept, words("Variant", "variant"), *FREQUENCY_COLUMNS)
