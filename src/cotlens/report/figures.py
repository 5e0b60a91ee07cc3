"""One function per chart. Each takes rows as `cotlens.report.tables` makes them and a width in pixels.

The specifications know nothing of the page they stand in; the same ones serve a notebook or a paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cotlens.report.svg import (
    ACCENT,
    BAND,
    CHARACTER,
    GRID,
    INK,
    MUTED,
    PAPER,
    concept_colour,
    dressed,
    inline_svg,
    margin,
    nice_top,
    root_ticks,
    to_svg,
)
from cotlens.report.tables import Row

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "accuracy_chart",
    "comparison_chart",
    "heat_map",
    "inline_svg",
    "intervention_chart",
    "layer_chart",
    "step_chart",
    "to_svg",
]

#: Colours of ratios from a sixteenth to sixteen times, on a logarithmic scale: orange below, blue above.
_DIVERGING = ["#a6490a", "#e08a4a", "#f7d9bf", "#f3f3f1", "#c4dcec", "#5ba0cc", "#0b5a93"]
_FURTHEST = 4
_RATIO_LABEL = "datum.value < 0 ? '1/' + pow(2, -datum.value) : datum.value > 0 ? pow(2, datum.value) + '×' : 'equal'"


def accuracy_chart(rows: Sequence[Row], width: int) -> Any:
    """Accuracy of each variant with its interval, and the counts behind it."""
    import altair as alt

    points = [
        row | _percentages(row, "accuracy", "low", "high") | {"counts": f"{row['correct']} of {row['questions']}"}
        for row in rows
    ]
    names = [row["variant"] for row in points]
    top = nice_top(max(row["high"] or 0 for row in points))
    base = alt.Chart(alt.InlineData(values=points)).encode(
        y=alt.Y("variant:N", sort=names, title=None, scale=alt.Scale(paddingOuter=0.3))
    )
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x=_accuracy_axis(top), x2="high:Q")
    point = base.mark_point(color=ACCENT, filled=True, size=90, opacity=1).encode(x="accuracy:Q")
    counts = base.mark_text(align="right", baseline="bottom", dy=-6, color=MUTED, fontSize=11).encode(
        x="high:Q", text="counts:N"
    )
    return _fitted(interval + point + counts, width, alt.Step(42))


def heat_map(rows: Sequence[Row], width: int) -> Any:
    """Frequency by concept and variant, coloured by its ratio to the frequency of random sets."""
    import altair as alt

    cells = [row | _cell(row) for row in rows]
    labels, variants = _unique(rows, "label"), _unique(rows, "variant")
    plot = max(width - margin(labels), 54 * len(variants))
    room = plot / len(variants) - 4
    wrapped = room < CHARACTER * max(map(len, variants))
    lines = 1 + max(name.count("_") for name in variants) if wrapped else 1
    axis = alt.Axis(
        orient="top", labelAngle=0, labelLimit=room, labelFontSize=11 if wrapped else 12,
        labelPadding=6 + 12 * (lines - 1),
        labelExpr="split(datum.value, '_')" if wrapped else "datum.value",
    )  # fmt: skip
    base = alt.Chart(alt.InlineData(values=cells)).encode(
        x=alt.X("variant:N", sort=variants, title=None, axis=axis),
        y=alt.Y("label:N", sort=labels, title=None),
    )
    colour = alt.Color(
        "shade:Q",
        scale=alt.Scale(domain=[-_FURTHEST, _FURTHEST], range=_DIVERGING, clamp=True, interpolate="rgb"),
        legend=alt.Legend(
            title="frequency relative to random neurons", titleLimit=width, orient="bottom",
            gradientLength=min(280, width - margin(labels) - 20), values=[-4, -2, 0, 2, 4], labelExpr=_RATIO_LABEL,
        ),
    )  # fmt: skip
    tiles = base.mark_rect(stroke=PAPER, strokeWidth=3).encode(color=colour)
    framed = base.transform_filter("datum.apart != ''").mark_rect(filled=False, stroke=INK, strokeWidth=2)
    ink = alt.Color("ink:N", scale=None)
    frequency = base.mark_text(dy=-6, fontSize=12).encode(text="frequency_text:N", color=ink)
    ratio = base.mark_text(dy=9, fontSize=10.5).encode(text="ratio_text:N", color=ink)
    text = (frequency + ratio).resolve_scale(color="independent")
    return dressed(
        alt.layer(tiles, framed, text).resolve_scale(color="independent").properties(width=plot, height=alt.Step(40))
    )


def comparison_chart(rows: Sequence[Row], width: int) -> Any:
    """Each concept's frequency with its interval, over the band of its random sets; one panel per variant."""
    import altair as alt

    fields = ("frequency", "low", "high", "random", "random_low", "random_high")
    points = [row | _percentages(row, *fields) for row in rows]
    labels, variants = _unique(rows, "label"), _unique(rows, "variant")
    columns = min(2 if width > 500 else 1, len(variants))
    top = max(row[field] or 0 for row in points for field in ("high", "random_high"))
    scale = alt.Scale(type="sqrt", domain=[0, top * 1.02 or 1], nice=False)
    base = alt.Chart().encode(y=alt.Y("label:N", sort=labels, title=None))
    axis = alt.Axis(
        values=root_ticks(top), format="~g", labelFlush=False, title="active neuron-steps (%), square-root scale"
    )
    band = base.mark_bar(color=BAND, height=12, cornerRadius=2).encode(
        x=alt.X("random_low:Q", scale=scale, axis=axis), x2="random_high:Q"
    )
    mean = base.mark_tick(color=MUTED, thickness=2, height=12).encode(x="random:Q")
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    point = base.mark_point(color=ACCENT, filled=True, size=60, opacity=1).encode(x="frequency:Q")
    plot = (width - margin(labels) - 24 * (columns - 1)) / columns
    return dressed(
        alt.layer(band, mean, interval, point)
        .properties(width=plot, height=alt.Step(24))
        .facet(facet=_panels(variants), columns=columns, data=alt.InlineData(values=points), spacing=24)
    )


def layer_chart(rows: Sequence[Row], concepts: Sequence[str], n_layers: int, lowest: int, width: int) -> Any:
    """Labelled neurons in each layer, stacked by concept; the layers below ``lowest`` are shaded."""
    import altair as alt

    highest = max(sum(row["neurons"] for row in rows if row["layer"] == layer) for layer in range(n_layers))
    step = 5 if n_layers > 12 else 1
    x = alt.X(
        "layer:O",
        title="layer",
        scale=alt.Scale(domain=list(range(n_layers)), paddingInner=0.15),
        axis=alt.Axis(values=list(range(0, n_layers, step)), labelAngle=0, grid=False),
    )
    shade = [{"layer": layer, "height": highest} for layer in range(min(lowest, n_layers))]
    unlabelled = (
        alt.Chart(alt.InlineData(values=shade))
        .mark_bar(color=GRID, width=alt.RelativeBandSize(1.2))
        .encode(x=x, y="height:Q")
    )
    colour = alt.Color(
        "concept:N",
        scale=alt.Scale(domain=list(concepts), range=[concept_colour(place) for place in range(len(concepts))]),
        legend=alt.Legend(title=None, orient="bottom", columns=4 if width < 500 else len(concepts)),
    )
    y = alt.Y("neurons:Q", title="labelled neurons", axis=alt.Axis(tickMinStep=1, format="d"))
    bars = alt.Chart(alt.InlineData(values=list(rows))).mark_bar(stroke=PAPER, strokeWidth=0.6).encode(
        x=x, y=y, color=colour, order=alt.Order("place:Q")
    )  # fmt: skip
    layers = [unlabelled, bars]
    if shade:
        note = [{"layer": (len(shade) - 1) // 2, "height": highest}]
        text = alt.Chart(alt.InlineData(values=note)).mark_text(dy=-8, color=MUTED, fontSize=11)
        layers.append(text.encode(x=x, y="height:Q", text=alt.value("not labelled")))
    return _fitted(alt.layer(*layers), width, 230)


def step_chart(rows: Sequence[Row], width: int) -> Any:
    """Frequency of all reasoning neurons at each step, and of random ones; one panel per variant."""
    import altair as alt

    points = [row | _percentages(row, "frequency", "smooth") for row in rows]
    variants = _unique(rows, "variant")
    columns = min(2 if width > 500 else 1, len(variants))
    colour = alt.Color("set:N", scale=alt.Scale(domain=["concept", "random"], range=[ACCENT, MUTED]), legend=None)
    base = alt.Chart().encode(
        x=alt.X("step:Q", title="step (generated token)", axis=alt.Axis(grid=False, labelFlush=False)), color=colour
    )
    y = alt.Y("frequency:Q", title="active neuron-steps (%)", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4))
    raw = base.mark_line(strokeWidth=1, opacity=0.35).encode(y=y)
    smooth = base.mark_line(strokeWidth=2.2).encode(
        y="smooth:Q", strokeDash=alt.StrokeDash("set:N", scale=alt.Scale(range=[[1, 0], [5, 3]]), legend=None)
    )
    plot = (width - 62 - 24 * (columns - 1)) / columns
    return dressed(
        alt.layer(raw, smooth)
        .properties(width=plot, height=140)
        .facet(facet=_panels(variants), columns=columns, data=alt.InlineData(values=points), spacing=24)
    )


def intervention_chart(sets: Sequence[Row], draws: Sequence[Row], width: int) -> Any:
    """Accuracy that remains with each neuron set edited: every draw, their mean, and the interval."""
    import altair as alt

    means = [row | _percentages(row, "accuracy", "low", "high") for row in sets]
    points = [row | _percentages(row, "accuracy") for row in draws]
    names = _unique(sets, "set")
    top = nice_top(max(row["high"] or 0 for row in means))
    y = alt.Y("set:N", sort=names, title=None, scale=alt.Scale(paddingOuter=0.2))
    base = alt.Chart(alt.InlineData(values=means)).encode(y=y)
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x=_accuracy_axis(top), x2="high:Q")
    mean = base.mark_tick(color=ACCENT, thickness=3, height=16, opacity=1).encode(x="accuracy:Q")
    offset = alt.YOffset("offset:Q", scale=alt.Scale(domain=[-1, 1]))
    strip = alt.Chart(alt.InlineData(values=points)).mark_point(color=MUTED, filled=True, size=44, opacity=1)
    strip = strip.encode(x="accuracy:Q", y=y, yOffset=offset)
    return _fitted(interval + mean + strip, width, alt.Step(64, **{"for": "position"}))


def _fitted(chart: Any, width: int, height: Any) -> Any:
    """``chart`` with its labels within ``width``, of which they take no more than a third."""
    size = {"type": "fit-x", "contains": "padding"}
    return dressed(chart.properties(width=width, height=height, autosize=size), longest_label=min(260, width / 3))


def _accuracy_axis(top: float) -> alt.X:
    import altair as alt

    axis = alt.Axis(tickCount=5, labelFlush=False)
    return alt.X("low:Q", title="questions answered correctly (%)", scale=alt.Scale(domain=[0, top]), axis=axis)


def _panels(variants: Sequence[str]) -> alt.Facet:
    import altair as alt

    return alt.Facet("variant:N", sort=list(variants), title=None)


def _cell(row: Row) -> Row:
    """What a cell of the heat map shows. Without a ratio it has the neutral colour and says so."""
    ratio = row["ratio"]
    shade = 0.0 if ratio is None else max(-_FURTHEST, min(_FURTHEST, math.log2(ratio))) if ratio else -_FURTHEST
    return {
        "shade": shade,
        "ink": "#ffffff" if abs(shade) > 3.2 else "#16191d",
        "frequency_text": f"{100 * row['frequency']:.2f}%",
        "ratio_text": "no ratio" if ratio is None else f"{ratio:.{0 if ratio >= 10 else 1 if ratio >= 1 else 2}f}×",
    }


def _percentages(row: Row, *fields: str) -> Row:
    return {field: None if row[field] is None else 100 * row[field] for field in fields}


def _unique(rows: Sequence[Row], field: str) -> list[str]:
    return list(dict.fromkeys(row[field] for row in rows))
