"""Charts of activation frequencies: the heat map of ratios, and the intervals beside their random sets.

A few variants stand side by side as columns, and in a panel each. Many have long names and are compared with each
other rather than concept with concept: they become rows, and each concept a panel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cotlens.report.figures import FEW
from cotlens.report.svg import (
    ACCENT,
    BAND,
    CHARACTER,
    INK,
    MUTED,
    ON_DARK,
    ON_LIGHT,
    PAPER,
    axis_title,
    dressed,
    margin,
    panels,
    root_ticks,
    told,
)
from cotlens.report.tables import Row, percentages, unique
from cotlens.report.tips import frequency_tip

__all__ = ["column_axis", "comparison_chart", "heat_map", "names_above"]

#: Colours of ratios from a sixteenth to sixteen times, on a logarithmic scale: cream below, blue above, ever darker, so
#: that in grey a dark cell is more active than random neurons and never less.
_DIVERGING = ["#fff2dc", "#fce6c4", "#f1e6d6", "#e2e6e9", "#bcd4e5", "#5ba0cc", "#0b5a93"]
_FURTHEST = 4
_RATIO_LABEL = "datum.value < 0 ? '1/' + pow(2, -datum.value) : datum.value > 0 ? pow(2, datum.value) + '×' : 'equal'"


#: Least width of a cell of the heat map, in pixels: that of "12.34%".
_CELL = 42


def heat_map(rows: Sequence[Row], width: int) -> Any:
    """Frequency by concept and variant, coloured by its ratio to the frequency of random sets."""
    import altair as alt

    cells = [row | _cell(row) for row in rows]
    few = len(unique(rows, "variant")) <= FEW
    across, down = ("variant", "label") if few else ("label", "variant")
    columns, lines = unique(rows, across), unique(rows, down)
    above = not few and width - margin(lines) < _CELL * len(columns)
    plot = max(width - (16 if above else margin(lines) + 4), _CELL * len(columns))
    base = alt.Chart(alt.InlineData(values=cells)).encode(
        x=alt.X(f"{across}:N", sort=columns, title=None, axis=column_axis(columns, plot / len(columns))),
        y=alt.Y(f"{down}:N", sort=lines, title=None, axis=None if above else alt.Axis()),
    )
    colour = alt.Color(
        "shade:Q",
        scale=alt.Scale(domain=[-_FURTHEST, _FURTHEST], range=_DIVERGING, clamp=True, interpolate="rgb"),
        legend=alt.Legend(
            title=["frequency relative", "to random neurons"] if plot < 260 else "frequency relative to random neurons",
            titleLimit=width, orient="bottom",
            gradientLength=min(280, plot - 20), values=[-4, -2, 0, 2, 4], labelExpr=_RATIO_LABEL,
        ),
    )  # fmt: skip
    # Where names don't fit beside the cells they stand above them, and the cells in the lower part of their row.
    down_by = 10 if above else 0
    box: dict[str, Any] = {"height": 34, "yOffset": down_by} if above else {}
    tiles = base.mark_rect(stroke=PAPER, strokeWidth=3, **box).encode(color=colour)
    framed = base.transform_filter("datum.apart != ''").mark_rect(filled=False, stroke=INK, strokeWidth=2, **box)
    ink = alt.Color("ink:N", scale=None)
    frequency = base.mark_text(dy=down_by - 6, fontSize=11 if above else 12).encode(text="frequency_text:N", color=ink)
    ratio = base.mark_text(dy=down_by + 9, fontSize=10.5).encode(text="ratio_text:N", color=ink)
    names = [names_above(lines, down)] if above else []
    text = alt.layer(told(frequency, aloud=False), told(ratio, aloud=False)).resolve_scale(color="independent")
    layers = alt.layer(told(tiles), framed, text, *names).resolve_scale(color="independent")
    return dressed(layers.properties(width=plot, height=alt.Step(58 if above else 40)))


def comparison_chart(rows: Sequence[Row], width: int) -> Any:
    """Each concept's frequency with its interval, over the band of its random sets."""
    import altair as alt

    fields = ("frequency", "low", "high", "random", "random_low", "random_high")
    points = [row | percentages(row, *fields) | {"tip": frequency_tip(row)} for row in rows]
    few = len(unique(rows, "variant")) <= FEW
    panel, down = ("variant", "label") if few else ("label", "variant")
    names, lines = unique(rows, panel), unique(rows, down)
    columns = min((1 if few else 2) * (2 if width > 500 else 1), len(names))
    spacing = 24 if few else 16
    plot = (width - margin(lines) - 20 - spacing * (columns - 1)) / columns
    top = max(row[field] or 0 for row in points for field in ("high", "random_high"))
    scale = alt.Scale(type="sqrt", domain=[0, top * 1.02 or 1], nice=False)
    base = alt.Chart().encode(y=alt.Y(f"{down}:N", sort=lines, title=None))
    axis = alt.Axis(
        values=root_ticks(top, max(3, min(9, int(plot / 32)))), labelExpr="datum.value", labelFlush=False, title=None
    )
    height = 12 if few else 9
    band = base.mark_bar(color=BAND, height=height, cornerRadius=2).encode(
        x=alt.X("random_low:Q", scale=scale, axis=axis), x2="random_high:Q"
    )
    mean = base.mark_tick(color=MUTED, thickness=2, height=height).encode(x="random:Q")
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    point = base.mark_point(color=ACCENT, filled=True, size=60 if few else 40, opacity=1).encode(x="frequency:Q")
    return dressed(
        alt.layer(told(band), mean, told(interval), told(point))
        .properties(width=plot, height=alt.Step(24 if few else 19))
        .facet(facet=panels(panel, names, plot), columns=columns, data=alt.InlineData(values=points), spacing=spacing)
        .resolve_axis(x="independent")
        .properties(title=axis_title("active neuron-steps (%), square-root scale"))
    )


def column_axis(names: Sequence[str], room: float) -> Any:
    """Names over the columns, broken at underscores and spaces where they are wider than ``room``."""
    import altair as alt

    wrapped = room < CHARACTER * max(map(len, names))
    lines = 1 + max(name.count("_") + name.count(" ") for name in names) if wrapped else 1
    return alt.Axis(
        orient="top", labelAngle=0, labelLimit=room, labelFontSize=10 if room < 60 else 11 if wrapped else 12,
        labelPadding=6 + 12 * (lines - 1),
        labelExpr="split(replace(datum.value, / /g, '_'), '_')" if wrapped else "datum.value",
    )  # fmt: skip


def names_above(names: Sequence[str], field: str) -> Any:
    """Names of lines of cells, where they don't fit beside them."""
    import altair as alt

    rows = alt.Chart(alt.InlineData(values=[{field: name} for name in names]))
    mark = rows.mark_text(align="left", baseline="middle", dy=-18, color=INK, fontSize=12)
    return mark.encode(x=alt.value(2), y=alt.Y(f"{field}:N", sort=list(names)), text=f"{field}:N")


def _cell(row: Row) -> Row:
    """What a cell of the heat map shows. Without a ratio it has the neutral colour and says so."""
    ratio = row["ratio"]
    shade = 0.0 if ratio is None else max(-_FURTHEST, min(_FURTHEST, math.log2(ratio))) if ratio else -_FURTHEST
    return {
        "shade": shade,
        "tip": frequency_tip(row),
        "ink": ON_DARK if shade > 3.2 else ON_LIGHT,
        "frequency_text": f"{100 * row['frequency']:.2f}%",
        "ratio_text": "no ratio" if ratio is None else f"{ratio:.{0 if ratio >= 10 else 1 if ratio >= 1 else 2}f}×",
    }
