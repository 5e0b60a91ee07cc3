"""Charts of one neuron: how strongly it is active, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotlens.explorer.neurons import Count, WhereActive
from cotlens.report.columns import number, real, share, words
from cotlens.report.figure import Figure
from cotlens.report.svg import ACCENT, CHARACTER, dressed, margin
from cotlens.report.tables import Row

__all__ = ["DOWN", "neuron_figures"]

#: Of what is active with a negative coefficient, as in the style sheet.
DOWN = "#d55e00"
_SIGNS = ("positive", "negative")
_COUNTED = (
    number("Steps", "steps"),
    number("Positive", "positive"),
    number("Negative", "negative"),
    share("Active", "active", 2),
)
_NO_INTERVAL = "The numbers count this run’s steps; nothing is estimated, so they have no interval."


def neuron_figures(active: WhereActive, names: dict[str, str]) -> dict[str, Figure]:
    """Figures by name; ``names`` gives the shown name of each variant."""
    found = {"neuron-coefficients": _coefficients(active)}
    if active.variants:
        shown = [row.model_copy(update={"name": names.get(row.name, row.name)}) for row in active.variants]
        title = "How often it is active under each variant"
        found["neuron-variants"] = _bars("neuron-variants", title, "Variant", shown)
    if active.roles:
        roles = [row.model_copy(update={"name": row.name.replace("_", " ")}) for row in active.roles]
        title = "How often it is active, by the role of the next token"
        found["neuron-roles"] = _bars("neuron-roles", title, "Role", roles)
    if len(active.steps) > 1:
        found["neuron-steps"] = _along(active.steps)
    return found


def _coefficients(active: WhereActive) -> Figure:
    bins = zip(active.edges, active.edges[1:], active.counts, strict=False)
    rows: list[dict[str, Any]] = [
        {"low": low, "high": high, "steps": steps, "sign": "positive" if low >= 0 else "negative"}
        for low, high, steps in bins
    ]
    filled = [place for place, row in enumerate(rows) if row["steps"]]
    kept = rows[max(0, filled[0] - 1) : filled[-1] + 2] if filled else rows
    return Figure(
        "neuron-coefficients",
        "With which coefficients it is active",
        "A bar is as high as the number of steps at which the neuron is among the top of its layer with a coefficient "
        "in that range; orange stands for negative ones.",
        lambda width: _histogram(kept, width),
        (real("From", "low"), real("To", "high"), number("Steps", "steps")),
        [row for row in kept if row["steps"]],
        note=_NO_INTERVAL,
    )


def _bars(name: str, title: str, kind: str, rows: Sequence[Count]) -> Figure:
    return Figure(
        name,
        title,
        "A bar gives the share of steps at which the neuron is active, its colours the sign.",
        lambda width: _stacked(rows, width),
        (words(kind, "name"), *_COUNTED),
        [_row(row) for row in rows],
        note=_NO_INTERVAL,
    )


def _along(rows: Sequence[Count]) -> Figure:
    return Figure(
        "neuron-steps",
        "How often it is active along the answer",
        "The height is the share of answers in which the neuron is active at that token, among the answers that reach "
        "it, blue with a positive and orange with a negative coefficient.",
        lambda width: _steps(rows, width),
        (words("From token", "name"), *_COUNTED),
        [_row(row) for row in rows],
        note=_NO_INTERVAL,
    )


def _row(row: Count) -> Row:
    return row.model_dump() | {"active": (row.positive + row.negative) / row.steps if row.steps else None}


def _signs() -> Any:
    import altair as alt

    return alt.Color("sign:N", scale=alt.Scale(domain=list(_SIGNS), range=[ACCENT, DOWN]), legend=None)


def _histogram(rows: Sequence[dict[str, Any]], width: int) -> Any:
    import altair as alt

    tooltip = [
        alt.Tooltip("low:Q", title="from", format=".3~g"), alt.Tooltip("high:Q", title="to", format=".3~g"),
        alt.Tooltip("steps:Q", title="steps", format=",d"),
    ]  # fmt: skip
    chart = alt.Chart(alt.InlineData(values=list(rows))).mark_bar(binSpacing=1)
    return dressed(
        chart.encode(
            x=alt.X("low:Q", bin="binned", title="coefficient", axis=alt.Axis(grid=False, tickCount=6)),
            x2="high:Q",
            y=alt.Y("steps:Q", title="steps", axis=alt.Axis(tickCount=4, format="~s")),
            color=_signs(),
            tooltip=tooltip,
        ).properties(width=width - 70, height=170)
    )


def _stacked(rows: Sequence[Count], width: int) -> Any:
    import altair as alt

    names = [row.name for row in rows]
    values = [
        {"name": row.name, "sign": sign, "active": 100 * getattr(row, sign) / row.steps, "steps": row.steps,
         "hits": getattr(row, sign)}
        for row in rows if row.steps for sign in _SIGNS
    ]  # fmt: skip
    tooltip = [
        alt.Tooltip("name:N", title="where"), alt.Tooltip("sign:N"),
        alt.Tooltip("active:Q", title="active (%)", format=".2f"),
        alt.Tooltip("hits:Q", title="active steps", format=",d"), alt.Tooltip("steps:Q", title="of", format=",d"),
    ]  # fmt: skip
    chart = alt.Chart(alt.InlineData(values=values)).mark_bar(height=12, cornerRadius=1)
    room = min(margin(names), 18 * CHARACTER)
    return dressed(
        chart.encode(
            x=alt.X("active:Q", stack="zero", title="active steps (%)", axis=alt.Axis(tickCount=5)),
            y=alt.Y("name:N", sort=names, title=None),
            color=_signs(),
            order=alt.Order("sign:N", sort="descending"),
            tooltip=tooltip,
        ).properties(width=width - room - 20, height=alt.Step(22))
    )


def _steps(rows: Sequence[Count], width: int) -> Any:
    import altair as alt

    values = [
        {"step": int(row.name), "sign": sign, "active": 100 * getattr(row, sign) / row.steps, "steps": row.steps}
        for row in rows
        for sign in _SIGNS
    ]
    tooltip = [
        alt.Tooltip("step:Q", title="from token"), alt.Tooltip("sign:N"),
        alt.Tooltip("active:Q", title="active (%)", format=".2f"), alt.Tooltip("steps:Q", title="steps", format=",d"),
    ]  # fmt: skip
    chart = alt.Chart(alt.InlineData(values=values)).mark_area(interpolate="step-after", opacity=0.85)
    return dressed(
        chart.encode(
            x=alt.X("step:Q", title="generated token", axis=alt.Axis(grid=False, tickCount=8)),
            y=alt.Y("active:Q", stack="zero", title="active (%)", axis=alt.Axis(tickCount=4)),
            color=_signs(),
            order=alt.Order("sign:N", sort="descending"),
            tooltip=tooltip,
        ).properties(width=width - 70, height=170)
    )
