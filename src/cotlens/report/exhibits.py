"""The report's figures and tables: a chart in two widths, how to read it, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from cotlens.analyze import Effect
from cotlens.report import figures, frequency_figures
from cotlens.report.figures import FEW
from cotlens.report.svg import inline_svg
from cotlens.report.tables import Row, effect_rows, unique
from cotlens.report.text import count, decimal, percent, span

__all__ = [
    "Figure",
    "Table",
    "accuracy_figure",
    "comparison_cells",
    "comparison_figures",
    "intervention_figure",
    "layer_figure",
    "numbered",
    "prompt_table",
    "step_figure",
]

#: What is said of a prompt in numbers.
PROMPT_HEAD = ("Prompt tokens", "Shots", "Lines", "Equations", "Stages")

#: Width of a chart beside a wide and on a narrow screen, in pixels.
WIDE, NARROW = 860, 356


@dataclass(frozen=True, slots=True)
class Table:
    """``rows`` of ready texts; the first ``names`` columns are words, the others numbers."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    names: int = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart as a reader meets it. ``key`` explains marks: pairs of a mark's class and its meaning."""

    name: str
    title: str
    read: str
    chart: Callable[[int], Any]
    """The chart in a width in pixels."""
    table: Table
    key: tuple[tuple[str, str], ...] = ()
    number: int = 0

    # The SVG comes from our own specifications, whose texts are made readable before and escaped by the renderer.
    @property
    def wide(self) -> Markup:
        return Markup(inline_svg(self.chart(WIDE), f"{self.name}-{WIDE}"))

    @property
    def narrow(self) -> Markup:
        return Markup(inline_svg(self.chart(NARROW), f"{self.name}-{NARROW}"))


def numbered(shown: Sequence[Figure | None]) -> list[Figure | None]:
    """The figures counted from 1, those that could not be made left as None."""
    numbers = iter(range(1, len(shown) + 1))
    return [None if figure is None else replace(figure, number=next(numbers)) for figure in shown]


def accuracy_figure(rows: Sequence[Row], confidence: float) -> Figure:
    head = (
        "Variant", "Correct", "Questions", "Accuracy", "Interval", "Last number", "Answered", "Cut off", "Mean tokens",
        *PROMPT_HEAD,
    )  # fmt: skip
    table = [
        (row["variant"], count(row["correct"]), count(row["questions"]), percent(row["accuracy"]),
         span(row["low"], row["high"]), percent(row["accuracy_flexible"]), percent(row["answered"]),
         percent(row["cut_off"]), decimal(row["mean_tokens"], 1), *_prompt_numbers(row))
        for row in rows
    ]  # fmt: skip
    return Figure(
        "accuracy",
        "Accuracy under each prompt variant",
        f"The point is the share of questions whose stated answer is right, the line its {confidence:.0%} Wilson "
        "interval; two variants whose lines overlap are not told apart by this figure.",
        lambda width: figures.accuracy_chart(rows, width),
        Table(head, table),
    )


def prompt_table(rows: Sequence[Row]) -> Table:
    """Accuracy beside what each prompt holds."""
    table = [(row["variant"], percent(row["accuracy"]), *_prompt_numbers(row)) for row in rows]
    return Table(("Variant", "Accuracy", *PROMPT_HEAD), table)


def comparison_figures(rows: Sequence[Row], confidence: float) -> tuple[Figure, Figure]:
    """The heat map of ratios, and the intervals behind it."""
    head = ("Concept", "Variant", "Neurons", "Frequency", "Interval", "Random", "Band", "Draws", "Ratio", "Apart")
    table = Table(head, [comparison_cells(row) for row in rows], names=2)
    heat = Figure(
        "heat",
        "Activation frequency of each concept’s neurons, relative to random neurons",
        "Each cell gives the share of neuron-steps at which the concept’s neurons are active and, below it, how many "
        "times that of matched random neurons; a frame marks a cell whose whole interval lies outside the random band "
        "of the next figure, and the number of neurons stands in brackets.",
        lambda width: frequency_figures.heat_map(rows, width),
        table,
    )
    dots = Figure(
        "comparison",
        "Activation frequency of each concept against matched random neurons",
        "A point right of its grey band is more frequent than random neurons of the same layers and signs; the line "
        f"is a {confidence:.0%} bootstrap interval over questions, the band spans {confidence:.0%} of the random sets.",
        lambda width: frequency_figures.comparison_chart(rows, width),
        table,
        key=(("point", "concept, with interval"), ("band", "random sets"), ("tick", "their mean")),
    )
    return heat, dots


def layer_figure(rows: Sequence[Row], concepts: Sequence[str], n_layers: int, lowest: int) -> Figure:
    counts = {(row["layer"], row["concept"]): row["neurons"] for row in rows}
    table = [
        (str(layer), *(str(counts.get((layer, concept), 0)) for concept in concepts))
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
        Table(("Layer", *concepts), table),
    )


def step_figure(rows: Sequence[Row]) -> Figure:
    table = [
        (row["variant"], "reasoning" if row["set"] == "concept" else "random", str(row["step"]), count(row["steps"]),
         percent(row["frequency"], 2), percent(row["smooth"], 2))
        for row in rows
    ]  # fmt: skip
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
        Table(("Variant", "Neurons", "Step", "Answers", "Frequency", "Mean of five"), table, names=2),
        key=(("line", "reasoning neurons"), ("dashed", "random neurons")),
    )


def intervention_figure(effects: Sequence[Effect], confidence: float) -> Figure:
    sets, draws = effect_rows(effects)
    table = [
        (row["set"], count(row["draws"]), count(row["questions"]), percent(row["accuracy"]),
         span(row["low"], row["high"]), percent(row["answered"]), ", ".join(map(percent, effect.by_draw)))
        for effect, row in zip(effects, sets, strict=True)
    ]  # fmt: skip
    return Figure(
        "intervention",
        "Accuracy that remains when neurons are edited",
        "Each point is one draw of noise or of neurons, the bar their mean and the line the range of the draws (for a "
        f"single draw, its {confidence:.0%} Wilson interval); an effect shows as reasoning points left of the random "
        "ones.",
        lambda width: figures.intervention_chart(sets, draws, width),
        Table(("Edited", "Draws", "Questions", "Accuracy", "Interval", "Answered", "Each draw"), table),
        key=(("draw", "one draw"), ("mean", "mean, with interval")),
    )


def _prompt_numbers(row: Row) -> tuple[str, ...]:
    """A cell for each of `PROMPT_HEAD`."""
    stages = None if row["two_stage"] is None else 1 + row["two_stage"]
    counts = (row["demonstrations"], row["lines"], row["equations"], stages)
    return decimal(row["prompt_tokens"], 0), *map(count, counts)


def comparison_cells(row: Row) -> tuple[str, ...]:
    """Concept, variant, neurons, frequency, interval, random, band, draws, ratio, apart."""
    return (
        row["label"].rpartition(" (")[0],
        row["variant"],
        count(row["neurons"]),
        percent(row["frequency"], 2),
        span(row["low"], row["high"], 2),
        percent(row["random"], 2),
        span(row["random_low"], row["random_high"], 2),
        count(row["draws"] or 0),
        "–" if row["ratio"] is None else f"{row['ratio']:.2f}×",
        row["apart"] or "no",
    )
