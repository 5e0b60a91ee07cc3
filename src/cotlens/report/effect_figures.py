"""Charts of interventions: effects beside their random sets, dose-response, what an edit costs, and how controls match.

Each takes rows as `cotlens.report.effect_rows` makes them and a width in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotlens.report.edits import KINDS
from cotlens.report.effect_rows import COVARIATES, MEASURES
from cotlens.report.svg import (
    ACCENT,
    BAND,
    INK,
    MUTED,
    PAPER,
    axis_title,
    dressed,
    heading,
    margin,
    nice_top,
    panels,
    told,
)
from cotlens.report.tables import Row, percentages, unique
from cotlens.report.text import readable
from cotlens.report.tips import balance_tip, dose_tip, effect_tip, loss_tip

__all__ = ["balance_chart", "dose_chart", "effect_chart", "loss_chart"]

#: Charts up to this width, in pixels, are laid out for a single column.
_NARROW = 500
#: Panels of dose-response that are shown; the table has all.
MOST_PANELS = 12
#: Standardised differences within are usually called balanced.
BALANCED = 0.1
_PERCENT = ("value", "low", "high", "random", "random_low", "random_high", "untouched")


def effect_chart(rows: Sequence[Row], draws: Sequence[Row], width: int) -> Any:
    """Accuracy with each set edited, over the band of its random sets and their draws; a panel per edit."""
    import altair as alt

    points = [
        row | percentages(row, *_PERCENT) | {"fill": ACCENT if row["sure"] else PAPER, "tip": effect_tip(row)}
        | {"tested": _tested(row)}
        for row in rows
    ]  # fmt: skip
    ticks = [row | percentages(row, "accuracy") for row in draws]
    sets, edits = unique(rows, "set"), unique(rows, "edit")
    room = 76 if any(point["tested"] for point in points) else 8
    plot = width - margin(sets) - 16 - room
    top = nice_top(max(point[f] or 0 for point in points for f in ("high", "random_high", "untouched", "value")))
    scale, axis = alt.Scale(domain=[0, top]), alt.Axis(tickCount=5, labelFlush=False, title=None)
    y = alt.Y("set:N", sort=sets, title=None)
    base = alt.Chart().transform_filter("isValid(datum.value)").encode(y=y)
    band = base.mark_bar(color=BAND, height=12, cornerRadius=2).encode(
        x=alt.X("random_low:Q", scale=scale, axis=axis), x2="random_high:Q"
    )
    drawn = (
        alt.Chart()
        .transform_filter("isValid(datum.accuracy)")
        .mark_tick(color=MUTED, thickness=1, height=12, opacity=0.55)
        .encode(y=y, x=alt.X("accuracy:Q", scale=scale, axis=axis))
    )
    untouched = alt.Chart().mark_rule(color=MUTED, strokeDash=[3, 3])
    untouched = untouched.encode(x=alt.datum(points[0]["untouched"], scale=scale, axis=axis))
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    point = base.mark_point(stroke=ACCENT, strokeWidth=2, size=70, opacity=1).encode(
        x="value:Q", fill=alt.Fill("fill:N", scale=None)
    )
    tested = base.mark_text(align="left", dx=10, color=MUTED, fontSize=11).encode(x=alt.value(plot), text="tested:N")
    layers = alt.layer(told(band), drawn, untouched, told(interval), told(point), told(tested, aloud=False))
    layers = layers.properties(width=plot, height=alt.Step(28))
    data = alt.InlineData(values=[*points, *ticks])
    title = axis_title("questions answered correctly (%)")
    if len(edits) == 1:
        return dressed(layers.properties(data=data, title=title))
    return dressed(
        layers.facet(facet=panels("edit", edits, plot), columns=1, data=data, spacing=18).properties(title=title)
    )


def dose_chart(rows: Sequence[Row], width: int) -> Any:
    """Accuracy over the dose, each set's line with intervals over the band and the mean of its random sets."""
    import altair as alt

    names = unique(rows, "panel")[:MOST_PANELS]
    kinds = unique(rows, "kind")
    points = [
        row | percentages(row, *_PERCENT) | {"fill": ACCENT if row["sure"] else PAPER, "tip": dose_tip(row)}
        for row in rows
        if row["panel"] in names
    ]
    columns = min(3 if width > _NARROW else 2, len(names))
    spacing = 20
    plot = (width - 60 - spacing * (columns - 1)) / columns
    top = nice_top(max(point[f] or 0 for point in points for f in ("high", "random_high", "untouched", "value")))
    ticks = sorted({row["dose"] for row in points}) if len(kinds) == 1 else alt.Undefined
    x_axis = alt.Axis(grid=False, labelFlush=False, tickCount=4, format="~g", values=ticks)
    x = alt.X("dose:Q", title=None, axis=x_axis, scale=alt.Scale(nice=False, padding=8, zero=True))
    y = alt.Y("random_low:Q", title="right answers (%)", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(tickCount=4))
    base = alt.Chart().encode(x=x)
    area = base.mark_area(color=BAND, opacity=0.8).encode(y=y, y2="random_high:Q")
    random = base.mark_line(color=MUTED, strokeDash=[5, 3], strokeWidth=1.6).encode(y="random:Q")
    untouched = alt.Chart().mark_rule(color=MUTED, strokeDash=[1, 3]).encode(y=alt.datum(points[0]["untouched"]))
    line = base.mark_line(color=ACCENT, strokeWidth=2).encode(y="value:Q")
    interval = base.mark_rule(color=ACCENT, strokeWidth=1.6).encode(y="low:Q", y2="high:Q")
    point = base.mark_point(stroke=ACCENT, strokeWidth=1.6, size=46, opacity=1).encode(
        y="value:Q", fill=alt.Fill("fill:N", scale=None)
    )
    title = f"dose of {kinds[0]} ({KINDS[kinds[0]].dose})" if len(kinds) == 1 and kinds[0] in KINDS else "dose"
    return dressed(
        alt.layer(area, untouched, random, line, told(interval), told(point))
        .properties(width=plot, height=130 if columns > 1 else 160)
        .facet(facet=panels("panel", names, plot), columns=columns, data=alt.InlineData(values=points), spacing=spacing)
        .resolve_scale(x="independent" if len(kinds) > 1 else "shared")
        .resolve_axis(x="independent")
        .properties(title=axis_title(title))
    )


def loss_chart(rows: Sequence[Row], width: int) -> Any:
    """What is lost by each edit, a panel per measure; the farther right, the more, in every panel."""
    import altair as alt

    measures, lines = [m for m in MEASURES if m in unique(rows, "measure")], unique(rows, "line")
    wide = width > _NARROW
    labels = margin(lines)
    columns = len(measures) if wide else 1
    spacing = 28
    plot = (width - labels - 26 - spacing * (columns - 1)) / columns
    shown = [row | {"tip": loss_tip(row), "fill": ACCENT if row["sure"] else PAPER} for row in rows]
    furthest = _furthest([row for row in shown if row["measure"] != "perplexity"])
    charts = [
        _loss_panel([row for row in shown if row["measure"] == measure], lines, furthest, place == 0 or not wide)
        .properties(width=plot, height=alt.Step(20), title=heading(MEASURES[measure]))
        for place, measure in enumerate(measures)
    ]  # fmt: skip
    return dressed(alt.concat(*charts, columns=columns, spacing=spacing))


def _furthest(rows: Sequence[Row]) -> list[float]:
    """Both ends of an axis of losses in percentage points."""
    values = [100 * (row[field] or 0) for row in rows for field in _LOSSES]
    return [min(0.0, *values), max(1.0, *values)] if values else [0.0, 1.0]


_LOSSES = ("loss", "loss_low", "loss_high", "random_loss_low", "random_loss_high")


def _loss_panel(rows: Sequence[Row], lines: Sequence[str], furthest: Sequence[float], named: bool) -> Any:
    import altair as alt

    ratio = rows[0]["measure"] == "perplexity"
    points = [row if ratio else row | percentages(row, *_LOSSES) for row in rows]
    if ratio:
        values = [row[field] for row in points for field in _LOSSES if row[field]]
        scale = alt.Scale(type="log", domain=[min(1.0, *values) / 1.02, max(1.0, *values) * 1.02], nice=False)
    else:
        scale = alt.Scale(domain=list(furthest), nice=True)
    axis = alt.Axis(
        tickCount=3, labelFlush=False, labelExpr="format(datum.value, '~g') + '×'" if ratio else "datum.value",
        title="times as high" if ratio else "points lost",
    )  # fmt: skip
    labels = alt.Axis() if named else None
    y = alt.Y("line:N", sort=list(lines), title=None, scale=alt.Scale(domain=list(lines)), axis=labels)
    base = alt.Chart(alt.InlineData(values=points)).encode(y=y)
    band = base.mark_bar(color=BAND, height=9, cornerRadius=2).encode(
        x=alt.X("random_loss_low:Q", scale=scale, axis=axis), x2="random_loss_high:Q"
    )
    nothing = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=MUTED, strokeDash=[3, 3])
    nothing = nothing.encode(x=alt.datum(1 if ratio else 0, scale=scale, axis=axis))
    interval = base.mark_rule(color=ACCENT, strokeWidth=1.8).encode(x="loss_low:Q", x2="loss_high:Q")
    point = base.mark_point(stroke=ACCENT, strokeWidth=1.6, size=44, opacity=1).encode(
        x="loss:Q", fill=alt.Fill("fill:N", scale=None)
    )
    return alt.layer(told(band), nothing, told(interval), told(point))


def balance_chart(rows: Sequence[Row], width: int) -> Any:
    """The standardised difference between each set and its random sets, a panel per covariate."""
    import altair as alt

    names = [name for name in COVARIATES.values() if name in unique(rows, "matched_on")]
    sets = unique(rows, "set")
    columns = min(4 if width > _NARROW else 2, len(names))
    spacing = 16
    plot = (width - margin(sets) - 20 - spacing * (columns - 1)) / columns
    points = [row | {"tip": balance_tip(row)} for row in rows]
    values = [abs(row["standardised_difference"] or 0) for row in rows]
    furthest = max(2.5 * BALANCED, *values) * 1.1
    scale = alt.Scale(domain=[-furthest, furthest], nice=False)
    axis = alt.Axis(tickCount=3, labelFlush=False, title=None, format="~g")
    y = alt.Y("set:N", sort=sets, title=None)
    within = alt.Chart().mark_rect(color=BAND, opacity=0.6)
    within = within.encode(x=alt.datum(-BALANCED, scale=scale, axis=axis), x2=alt.datum(BALANCED))
    zero = alt.Chart().mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x=alt.datum(0, scale=scale, axis=axis))
    point = alt.Chart().mark_point(filled=True, color=INK, size=46, opacity=1)
    point = point.encode(x=alt.X("standardised_difference:Q", scale=scale, axis=axis), y=y)
    return dressed(
        alt.layer(within, zero, told(point))
        .properties(width=plot, height=alt.Step(20))
        .facet(
            facet=panels("matched_on", names, plot), columns=columns, data=alt.InlineData(values=points),
            spacing=spacing,
        )
        .resolve_axis(x="independent")
        .properties(title=axis_title("standardised difference, set less random sets"))
    )  # fmt: skip


def _tested(row: Row) -> str:
    """``q 0.04`` beside a line; empty without controls."""
    value = row["q_value"]
    return "" if value is None else readable(f"q {value:.2f}" if value >= 0.1 else f"q {value:.2g}")
