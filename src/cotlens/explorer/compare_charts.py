"""Charts of two variants, of one run or of two, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotlens.analyze.sets import ALL
from cotlens.explorer.compare import Comparison, ConceptPair, Side
from cotlens.explorer.neuron_charts import DOWN
from cotlens.report.columns import interval, number, share, words
from cotlens.report.figure import Figure
from cotlens.report.svg import ACCENT, BAND, dressed, margin, root_ticks
from cotlens.report.tables import Row, percentages, unique
from cotlens.report.text import readable

__all__ = ["compare_figures"]


def compare_figures(found: Comparison, name_a: str, name_b: str, confidence: float) -> dict[str, Figure]:
    """Figures by name."""
    figures = {"compare-accuracy": _accuracy([(found.a, name_a), (found.b, name_b)], confidence)}
    if pairs := [pair for pair in found.concepts if pair.a or pair.b]:
        figures["compare-frequencies"] = _frequencies(pairs, (name_a, name_b), confidence)
    return figures


def _accuracy(sides: Sequence[tuple[Side, str]], confidence: float) -> Figure:
    rows = [
        {"side": name, "place": place} | side.model_dump(include={"correct", "questions", "accuracy", "low", "high"})
        for place, (side, name) in enumerate(sides)
    ]
    names = [name for _, name in sides]
    return Figure(
        "compare-accuracy",
        "Accuracy",
        f"The point is the share of questions answered right, the line its {confidence:.0%} Wilson interval; whether "
        "the two differ on the same questions is told below.",
        lambda width: _points(rows, "side", ("accuracy", "questions answered correctly (%)"), names, width),
        (
            words("Side", "side"), number("Correct", "correct"), number("Questions", "questions"),
            share("Accuracy", "accuracy"), interval("Interval", "low", "high"),
        ),
        rows,
    )  # fmt: skip


def _frequencies(pairs: Sequence[ConceptPair], names: tuple[str, str], confidence: float) -> Figure:
    rows = [
        side.model_dump(exclude={"variant"}) | {"concept": _called(pair.concept), "side": names[place], "place": place}
        for pair in pairs
        for place, side in enumerate((pair.a, pair.b))
        if side is not None and side.frequency is not None
    ]
    title = "active neuron-steps (%), square-root scale"
    return Figure(
        "compare-frequencies",
        "Activation frequency of each concept",
        f"The points are the share of neuron-steps at which the concept’s neurons are active, blue for {names[0]} and "
        f"orange for {names[1]}; the line is a {confidence:.0%} bootstrap interval over questions, the grey band what "
        "random sets of the same layers and signs reach.",
        lambda width: _points(rows, "concept", ("frequency", title), unique(rows, "concept"), width),
        (
            words("Concept", "concept"), words("Side", "side"), share("Frequency", "frequency", 2),
            interval("Interval", "low", "high", 2), share("Random", "random", 2),
            interval("Band", "random_low", "random_high", 2),
        ),
        rows,
    )  # fmt: skip


def _called(concept: str) -> str:
    return "all concepts" if concept == ALL else readable(concept, 24)


def _points(rows: Sequence[Row], by: str, value: tuple[str, str], order: Sequence[str], width: int) -> Any:
    """Points with intervals, a line of them for each value of ``by``, the second side a little below the first."""
    import altair as alt

    field, title = value
    fields = [name for name in (field, "low", "high", "random_low", "random_high") if name in rows[0]]
    rows = [row | percentages(row, *fields) for row in rows]
    tooltip = [
        alt.Tooltip(f"{by}:N", title="of"), alt.Tooltip("side:N", title="under"),
        *(alt.Tooltip(f"{name}:Q", title=f"{name} (%)", format=".2f") for name in (field, "low", "high")),
    ]  # fmt: skip
    offset = alt.YOffset("place:N", scale=alt.Scale(domain=[0, 1]))
    colour = alt.Color("place:N", scale=alt.Scale(domain=[0, 1], range=[ACCENT, DOWN]), legend=None)
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y(f"{by}:N", sort=list(order), title=None, scale=alt.Scale(paddingInner=0.25)),
        yOffset=offset,
        tooltip=tooltip,
    )
    ends = ("high", "random_high")
    top = max((row.get(end) or 0 for row in rows for end in ends), default=0) or 1
    with_bands = any("random_low" in row for row in rows)
    scale = alt.Scale(type="sqrt" if with_bands else "linear", domain=[0, top * 1.02], nice=False)
    ticks = {"values": root_ticks(top), "labelExpr": "datum.value"} if with_bands else {"tickCount": 6}
    axis = alt.Axis(**ticks, labelFlush=False)
    layers = []
    if with_bands:
        band = base.mark_bar(color=BAND, height=9)
        layers.append(band.encode(x=alt.X("random_low:Q", title=title, scale=scale, axis=axis), x2="random_high:Q"))
    x = alt.X("low:Q", title=title, scale=scale, axis=axis)
    layers.append(base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", color=colour))
    layers.append(base.mark_point(filled=True, size=60, opacity=1).encode(x=f"{field}:Q", color=colour))
    room = margin(order)
    return dressed(alt.layer(*layers).properties(width=width - room - 20, height=alt.Step(17, **{"for": "offset"})))
