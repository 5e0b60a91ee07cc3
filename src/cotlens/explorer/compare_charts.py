"""Charts of two variants, of one run or of two, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotlens.analyze.sets import ALL
from cotlens.explorer.compare import Comparison, ConceptPair, Side
from cotlens.explorer.neuron_charts import DOWN
from cotlens.report.exhibits import Figure, Table
from cotlens.report.svg import ACCENT, BAND, dressed, margin, root_ticks
from cotlens.report.text import count, percent, readable, span

__all__ = ["compare_figures"]


def compare_figures(found: Comparison, name_a: str, name_b: str, confidence: float) -> dict[str, Figure]:
    """Figures by name."""
    figures = {"compare-accuracy": _accuracy([(found.a, name_a), (found.b, name_b)], confidence)}
    if pairs := [pair for pair in found.concepts if pair.a or pair.b]:
        figures["compare-frequencies"] = _frequencies(pairs, (name_a, name_b), confidence)
    return figures


def _accuracy(sides: Sequence[tuple[Side, str]], confidence: float) -> Figure:
    rows = [
        {"side": name, "place": place, "correct": side.correct, "questions": side.questions}
        | {field: _hundred(getattr(side, field)) for field in ("accuracy", "low", "high")}
        for place, (side, name) in enumerate(sides)
    ]
    table = [
        (name, count(side.correct), count(side.questions), percent(side.accuracy), span(side.low, side.high))
        for side, name in sides
    ]
    return Figure(
        "compare-accuracy",
        "Accuracy",
        f"The point is the share of questions answered right, the line its {confidence:.0%} Wilson interval; whether "
        "the two differ on the same questions is told below.",
        lambda width: _points(
            rows, "side", ("accuracy", "questions answered correctly (%)"), [n for _, n in sides], width
        ),
        Table(("", "Correct", "Questions", "Accuracy", "Interval"), table),
    )


def _frequencies(pairs: Sequence[ConceptPair], names: tuple[str, str], confidence: float) -> Figure:
    rows, table = [], []
    for pair in pairs:
        label = "all concepts" if pair.concept == ALL else readable(pair.concept, 24)
        for place, side in enumerate((pair.a, pair.b)):
            if side is None or side.frequency is None:
                continue
            shares = {field: _hundred(value) for field, value in side.model_dump(exclude={"variant"}).items()}
            rows.append(shares | {"concept": label, "side": names[place], "place": place})
            table.append(
                (label, names[place], percent(side.frequency, 2), span(side.low, side.high, 2),
                 percent(side.random, 2), span(side.random_low, side.random_high, 2))
            )  # fmt: skip
    concepts = list(dict.fromkeys(str(row["concept"]) for row in rows))
    return Figure(
        "compare-frequencies",
        "Activation frequency of each concept",
        f"The points are the share of neuron-steps at which the concept’s neurons are active, blue for {names[0]} and "
        f"orange for {names[1]}; the line is a {confidence:.0%} bootstrap interval over questions, the grey band what "
        "random sets of the same layers and signs reach.",
        lambda width: _points(
            rows, "concept", ("frequency", "active neuron-steps (%), square-root scale"), concepts, width
        ),
        Table(("Concept", "", "Frequency", "Interval", "Random", "Band"), table, names=2),
    )


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _points(rows: Sequence[dict[str, Any]], by: str, value: tuple[str, str], order: Sequence[str], width: int) -> Any:
    """Points with intervals, a line of them for each value of ``by``, the second side a little below the first."""
    import altair as alt

    field, title = value
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
