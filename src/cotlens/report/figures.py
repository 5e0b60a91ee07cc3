"""Charts of accuracy, layers and steps, one function each.

Each takes rows as `cotlens.report.tables` makes them and a width in pixels. The specifications know nothing of the
page they stand in; the same ones serve a notebook or a paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cotlens.report.svg import (
    ACCENT,
    GRID,
    MUTED,
    ON_DARK,
    ON_LIGHT,
    PAPER,
    axis_title,
    dressed,
    fitted,
    margin,
    nice_top,
    panels,
    told,
)
from cotlens.report.tables import Row, percentages, unique
from cotlens.report.tips import accuracy_tip, layer_tip, step_tip

if TYPE_CHECKING:
    import altair as alt

__all__ = ["FEW", "accuracy_axis", "accuracy_chart", "layer_chart", "step_chart"]

#: From few to many, light to dark, in one hue.
_SHADES = ["#dce9f3", "#8dbbdb", "#4690c2", "#0b5a93"]
#: Width of a tile, in pixels, from which it holds a number.
_ROOM_FOR_A_NUMBER = 16
#: Height of a variant's line in pixels, and the room before the first and after the last one, in lines.
_LINE, _OUTER = 42, 0.3
#: Up to so many variants have room for single steps and for a panel each.
FEW = 4
#: A step in so many says its number when pointed at.
_TOLD_STEPS = 5


def accuracy_chart(rows: Sequence[Row], width: int) -> Any:
    """Accuracy of each variant with its interval, and the counts behind it."""
    import altair as alt

    points = [
        row | percentages(row, "accuracy", "low", "high") | {"counts": _counts(row), "tip": accuracy_tip(row)}
        for row in rows
    ]
    names = [row["variant"] for row in points]
    top = nice_top(max(row["high"] or 0 for row in points))
    base = alt.Chart(alt.InlineData(values=points)).encode(
        y=alt.Y("variant:N", sort=names, title=None, scale=alt.Scale(paddingOuter=_OUTER))
    )
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x=accuracy_axis(top), x2="high:Q")
    point = base.mark_point(color=ACCENT, filled=True, size=90, opacity=1).encode(x="accuracy:Q")
    counts = base.mark_text(align="right", baseline="bottom", dy=-6, color=MUTED, fontSize=11).encode(
        x="high:Q", text="counts:N"
    )
    return fitted(told(interval) + told(point) + counts, width, _LINE * (len(names) + 2 * _OUTER))


def layer_chart(rows: Sequence[Row], concepts: Sequence[str], n_layers: int, lowest: int, width: int) -> Any:
    """Labelled neurons in each layer, a line of tiles for each concept; the layers below ``lowest`` are grey."""
    import altair as alt

    plot = width - margin(concepts) - 12
    room = plot / n_layers
    most = max(row["neurons"] for row in rows)
    step = 5 if n_layers > 12 else 1
    cells = [
        row | {"ink": ON_DARK if row["neurons"] > 0.55 * most else ON_LIGHT, "tip": layer_tip(row)} for row in rows
    ]
    grey = [{"layer": layer, "concept": concept} for layer in range(min(lowest, n_layers)) for concept in concepts]
    x = alt.X(
        "layer:O",
        title="layer" + (" (grey: not labelled)" if grey else ""),
        scale=alt.Scale(domain=list(range(n_layers)), padding=0),
        axis=alt.Axis(values=list(range(0, n_layers, step)), labelAngle=0, grid=False),
    )
    y = alt.Y("concept:N", sort=list(concepts), title=None, scale=alt.Scale(domain=list(concepts), padding=0))
    ticks = sorted({1, *(round(most * part) for part in (0.5, 1) if most > 1)})
    colour = alt.Color(
        "neurons:Q",
        scale=alt.Scale(domain=[0, most], range=_SHADES),
        legend=alt.Legend(
            title="labelled neurons", orient="bottom", values=ticks, format="d", gradientLength=min(160, plot - 20)
        ),
    )
    gap = min(2.0, room / 6)
    unlabelled = alt.Chart(alt.InlineData(values=grey)).mark_rect(color=GRID, stroke=PAPER, strokeWidth=gap)
    base = alt.Chart(alt.InlineData(values=cells)).encode(x=x, y=y)
    tiles = base.mark_rect(stroke=PAPER, strokeWidth=gap).encode(color=colour)
    layers = [unlabelled.encode(x=x, y=y), told(tiles)]
    if room >= _ROOM_FOR_A_NUMBER:
        number = base.mark_text(fontSize=11).encode(text="neurons:Q", color=alt.Color("ink:N", scale=None))
        layers.append(told(number, aloud=False))
    chart = alt.layer(*layers).resolve_scale(color="independent")
    return dressed(chart.properties(width=plot, height=alt.Step(24)))


def step_chart(rows: Sequence[Row], width: int) -> Any:
    """Frequency of all reasoning neurons at each step, and of random ones; one panel per variant.

    With more than `FEW` variants the panels are small and show running means only.
    """
    import altair as alt

    points = [row | percentages(row, "frequency", "smooth") | {"tip": step_tip(row)} for row in rows]
    variants = unique(rows, "variant")
    few = len(variants) <= FEW
    columns = min((1 if few else 2) * (2 if width > 500 else 1), len(variants))
    spacing, height = (24, 140) if few else (16, 96)
    colour = alt.Color("set:N", scale=alt.Scale(domain=["concept", "random"], range=[ACCENT, MUTED]), legend=None)
    x_axis = alt.Axis(grid=False, labelFlush=False, tickCount=5 if few else 3)
    base = alt.Chart().encode(x=alt.X("step:Q", title=None, axis=x_axis), color=colour)
    y_axis = alt.Axis(tickCount=4 if few else 3)
    y = alt.Y(
        "smooth:Q", title="active neuron-steps (%)" if few else "active (%)", scale=alt.Scale(zero=True), axis=y_axis
    )
    dashes = alt.StrokeDash("set:N", scale=alt.Scale(range=[[1, 0], [5, 3]]), legend=None)
    layers = [base.mark_line(strokeWidth=2.2 if few else 1.8).encode(y=y, strokeDash=dashes)]
    if few:
        layers.insert(0, base.mark_line(strokeWidth=1, opacity=0.35).encode(y="frequency:Q"))
    # A line says one thing along its whole length; points that can't be seen say what it is at every fifth step.
    marked = base.transform_filter(f"datum.step % {_TOLD_STEPS} == 0").mark_point(size=90, opacity=0, filled=True)
    layers.append(told(marked.encode(y="smooth:Q")))
    plot = (width - 76 - spacing * (columns - 1)) / columns
    return dressed(
        alt.layer(*layers)
        .properties(width=plot, height=height)
        .facet(
            facet=panels("variant", variants, plot), columns=columns, data=alt.InlineData(values=points),
            spacing=spacing,
        )
        .resolve_axis(x="independent")
        .properties(title=axis_title("step (generated token)"))
    )  # fmt: skip


def _counts(row: Row) -> str:
    return f"{row['correct']} of {row['questions']}" + (", two stages" if row["two_stage"] else "")


def accuracy_axis(top: float) -> alt.X:
    import altair as alt

    axis = alt.Axis(tickCount=5, labelFlush=False)
    return alt.X("low:Q", title="questions answered correctly (%)", scale=alt.Scale(domain=[0, top]), axis=axis)
