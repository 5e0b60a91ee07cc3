"""Charts of differences between variants, of activity and correctness, and of failures.

Each takes rows as `cotlens.report.analysis_rows` makes them and a width in pixels. What a colour says, a shape, a frame
or a number says too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotlens.report.figures import FEW
from cotlens.report.frequency_figures import column_axis, names_above
from cotlens.report.svg import (
    ACCENT,
    BAND,
    INK,
    MUTED,
    ON_DARK,
    ON_LIGHT,
    PAPER,
    axis_title,
    dressed,
    margin,
    panels,
    told,
)
from cotlens.report.tables import Row, percentages, unique
from cotlens.report.tips import area_tip, difference_tip, failure_tip

__all__ = ["correctness_chart", "difference_chart", "failure_chart"]

#: From nothing to everything, light to dark, in one hue.
_SHADES = ["#f3f6f9", "#c9dceb", "#8dbbdb", "#4690c2", "#0b5a93"]
#: Charts up to this width, in pixels, are laid out for a single column.
_NARROW = 500
#: What classes are called over narrow columns.
_SHORT = {
    "arithmetic slip": "arith. slip",
    "right equations, wrong answer": "right eq.",
    "no equation": "no eq.",
    "truncated": "cut off",
    "repetition": "loop",
}
#: Contrast: its mark, and how far below the middle of its line it stands.
_CONTRASTS = {"free": ("circle", -0.45), "forced": ("diamond", 0.45)}


def difference_chart(rows: Sequence[Row], width: int) -> Any:
    """Differences in frequency against the reference, with intervals, over the band of the random sets."""
    import altair as alt

    fields = ("difference", "low", "high", "random_low", "random_high")
    shown = [row for row in rows if row["contrast"] in _CONTRASTS]
    with_forced = len(unique(shown, "contrast")) > 1
    points = [
        row | percentages(row, *fields) | {"offset": _CONTRASTS[row["contrast"]][1] if with_forced else 0.0}
        | {"fill": ACCENT if row["sure"] else PAPER, "mark": _CONTRASTS[row["contrast"]][0]}
        | {"tip": difference_tip(row)}
        for row in shown
    ]  # fmt: skip
    few = len(unique(rows, "variant")) <= FEW
    panel, down = ("variant", "label") if few else ("label", "variant")
    names, lines = unique(points, panel), unique(points, down)
    columns = min((1 if few else 2) * (2 if width > _NARROW else 1), len(names))
    spacing = 24 if few else 16
    plot = (width - margin(lines) - 20 - spacing * (columns - 1)) / columns
    furthest = max((abs(row[f] or 0) for row in points for f in ("difference", "low", "high")), default=0) or 1
    scale = alt.Scale(domain=[-furthest * 1.05, furthest * 1.05], nice=False)
    signed = "(datum.value > 0 ? '+' : datum.value < 0 ? '−' : '') + abs(datum.value)"
    axis = alt.Axis(tickCount=max(3, int(plot / 60)), labelFlush=False, labelExpr=signed, title=None)
    base = alt.Chart().encode(
        y=alt.Y(f"{down}:N", sort=lines, title=None),
        yOffset=alt.YOffset("offset:Q", scale=alt.Scale(domain=[-1, 1])),
    )
    band = base.mark_bar(color=BAND, height=6, clip=True).encode(
        x=alt.X("random_low:Q", scale=scale, axis=axis), x2="random_high:Q"
    )
    zero = alt.Chart().mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x=alt.datum(0, scale=scale, axis=axis))
    interval = base.mark_rule(color=ACCENT, strokeWidth=1.6).encode(x="low:Q", x2="high:Q")
    point = base.mark_point(stroke=ACCENT, strokeWidth=1.5, size=38, opacity=1).encode(
        x="difference:Q", fill=alt.Fill("fill:N", scale=None), shape=alt.Shape("mark:N", scale=None)
    )
    return dressed(
        alt.layer(band, zero, told(interval), told(point))
        .properties(width=plot, height=alt.Step((24 if with_forced else 20), **{"for": "position"}))
        .facet(facet=panels(panel, names, plot), columns=columns, data=alt.InlineData(values=points), spacing=spacing)
        .resolve_axis(x="independent")
        .properties(title=axis_title("difference in active neuron-steps (percentage points)"))
    )  # fmt: skip


def correctness_chart(rows: Sequence[Row], width: int) -> Any:
    """The area under the curve of each concept, with its interval, over the band of the random sets.

    A narrow chart shows the first panel alone: all variants together, where there are several.
    """
    import altair as alt

    if width <= _NARROW:
        rows = [row for row in rows if row["variant"] == rows[0]["variant"]]
    few = len(unique(rows, "variant")) <= FEW + 1
    panel, down = ("variant", "label") if few else ("label", "variant")
    names, lines = unique(rows, panel), unique(rows, down)
    points = [row | {"tip": area_tip(row)} for row in rows]
    columns = min((1 if few else 2) * (2 if width > _NARROW else 1), len(names))
    spacing = 24 if few else 16
    plot = (width - margin(lines) - 20 - spacing * (columns - 1)) / columns
    scale = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], labelFlush=False, labelExpr="datum.value", title=None)
    base = alt.Chart().encode(y=alt.Y(f"{down}:N", sort=lines, title=None))
    band = base.mark_bar(color=BAND, height=10, cornerRadius=2).encode(
        x=alt.X("random_auc_low:Q", scale=scale, axis=axis), x2="random_auc_high:Q"
    )
    chance = alt.Chart().mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x=alt.datum(0.5, scale=scale, axis=axis))
    interval = base.mark_rule(color=ACCENT, strokeWidth=2).encode(x="auc_low:Q", x2="auc_high:Q")
    point = base.mark_point(color=ACCENT, filled=True, size=50, opacity=1).encode(x="auc:Q")
    return dressed(
        alt.layer(band, chance, told(interval), told(point))
        .properties(width=plot, height=alt.Step(22 if few else 19))
        .facet(facet=panels(panel, names, plot), columns=columns, data=alt.InlineData(values=points), spacing=spacing)
        .resolve_axis(x="independent")
        .properties(title=axis_title("area under the curve; 0.5 is chance"))
    )


def failure_chart(rows: Sequence[Row], width: int) -> Any:
    """The share of each class in each condition, and below it the shift against the condition of reference."""
    import altair as alt

    cells = [row | _failure_cell(row) for row in rows]
    conditions = unique(cells, "condition")
    wide, above = width > _NARROW, width <= _NARROW and len(conditions) > FEW
    if above:
        cells = [cell | {"kind_name": _SHORT.get(cell["kind_name"], cell["kind_name"])} for cell in cells]
    kinds = unique(cells, "kind_name")
    across, down = ("kind_name", "condition") if wide or above else ("condition", "kind_name")
    columns, lines = (kinds, conditions) if wide or above else (conditions, kinds)
    plot = width - 16 - (0 if above else margin(lines))
    room = plot / len(columns)
    base = alt.Chart(alt.InlineData(values=cells)).encode(
        x=alt.X(f"{across}:N", sort=columns, title=None, axis=column_axis(columns, room)),
        y=alt.Y(f"{down}:N", sort=lines, title=None, axis=None if above else alt.Axis()),
    )
    down_by = 10 if above else 0
    box: dict[str, Any] = {"height": 34, "yOffset": down_by} if above else {}
    colour = alt.Color("share:Q", scale=alt.Scale(domain=[0, 0.25, 0.5, 0.75, 1], range=_SHADES), legend=None)
    tiles = base.mark_rect(stroke=PAPER, strokeWidth=3, **box).encode(color=colour)
    framed = base.transform_filter("datum.sure").mark_rect(filled=False, stroke=INK, strokeWidth=2, **box)
    ink = alt.Color("ink:N", scale=None)
    share = base.mark_text(dy=down_by - 6, fontSize=12 if room > 50 else 11).encode(text="share_text:N", color=ink)
    shift = base.mark_text(dy=down_by + 9, fontSize=10.5 if room > 50 else 9.5).encode(text="shift_text:N", color=ink)
    text = alt.layer(told(share, aloud=False), told(shift, aloud=False)).resolve_scale(color="independent")
    names = [names_above(lines, down)] if above else []
    layers = alt.layer(told(tiles), framed, text, *names).resolve_scale(color="independent")
    return dressed(layers.properties(width=plot, height=alt.Step(58 if above else 40)))


def _failure_cell(row: Row) -> Row:
    shift = "" if row["difference"] is None else f"{100 * row['difference']:+.0f}".replace("-", "−")
    return {
        "share_text": f"{100 * row['share']:.0f}%",
        "shift_text": "±0" if shift in ("+0", "−0") else shift,
        "ink": ON_DARK if row["share"] > 0.72 else ON_LIGHT,
        "tip": failure_tip(row),
    }
