"""How every chart looks, and how it becomes SVG.

Charts are drawn in fixed colours. In a page the four neutral ones and the accent become CSS variables, so that one
SVG serves light, dark and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "ACCENT",
    "BAND",
    "CHARACTER",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "axis_title",
    "concept_colour",
    "dressed",
    "fitted",
    "inline_svg",
    "margin",
    "nice_top",
    "panels",
    "root_ticks",
    "to_svg",
]

INK = "#1b1f24"
MUTED = "#5b6570"
GRID = "#e4e7eb"
BAND = "#c9cfd6"
PAPER = "#fefefe"
ACCENT = "#0072b1"  # one step from the first concept's blue, which must not follow the theme

#: Mean width of a character of a label, in pixels.
CHARACTER = 6.0

_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", PAPER: "paper", ACCENT: "accent"}
_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
# Okabe & Ito's colours for the published seven in their order, then further ones for a user's own concepts.
_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#d55e00", "#999999",
    "#332288", "#88ccee", "#44aa99", "#999933", "#882255", "#aa4499",
)  # fmt: skip


def concept_colour(place: int) -> str:
    """The colour of the concept that stands at ``place`` in the order shown."""
    return _COLOURS[place % len(_COLOURS)]


def dressed(chart: Any, longest_label: float = 260) -> Any:
    """``chart`` with the type, lines and spacing that all figures share; labels are cut at so many pixels."""
    text = {"labelFont": _FONT, "titleFont": _FONT, "labelColor": INK, "titleColor": MUTED, "labelFontSize": 12}
    return (
        chart.configure(font=_FONT, background="transparent", padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            **text, titleFontSize=12, titleFontWeight="normal", titlePadding=10, labelPadding=6,
            labelLimit=longest_label, gridColor=GRID, domain=False, ticks=False,
        )
        .configure_header(**text | {"labelFontSize": 13}, labelFontWeight="bold", labelAnchor="start", title=None)
        .configure_legend(**text, titleFontSize=12, titleFontWeight="normal", symbolType="square", symbolSize=110)
        .configure_text(font=_FONT, fontSize=12)
    )  # fmt: skip


def fitted(chart: Any, width: int, height: Any) -> Any:
    """``chart`` with its labels within ``width``, of which they take no more than a third, or what a name needs."""
    size = {"type": "fit-x", "contains": "padding"}
    return dressed(chart.properties(width=width, height=height, autosize=size), max(150, min(260, width / 3)))


def axis_title(text: str) -> alt.TitleParams:
    """One title for the horizontal axes of all panels."""
    import altair as alt

    return alt.TitleParams(
        text, orient="bottom", anchor="middle", font=_FONT, fontSize=12, fontWeight="normal", color=MUTED
    )


def panels(field: str, order: Sequence[str], width: float) -> alt.Facet:
    """One panel for each value of ``field``; its name is cut where the panel ends."""
    import altair as alt

    return alt.Facet(
        f"{field}:N",
        sort=list(order),
        title=None,
        header=alt.Header(labelLimit=width, labelFontSize=12 if width < 160 else 13),
    )


def to_svg(chart: alt.TopLevelMixin) -> str:
    """``chart`` as an SVG document in its own colours, for a paper or a file."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return str(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version))


def inline_svg(chart: alt.TopLevelMixin, name: str) -> str:
    """``chart`` as an element to place in a page; ``name`` keeps its inner ids apart from those of other charts."""
    svg = to_svg(chart)
    # The renderer counts its ids through all charts of a process; counted anew, the same chart is the same text.
    for number, inner in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg))):
        svg = svg.replace(f'id="{inner}"', f'id="{name}-{number}"').replace(f"url(#{inner})", f"url(#{name}-{number})")
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", svg)
    for colour, variable in _VARIABLES.items():
        svg = re.sub(rf'="{colour}"', f'="var(--{variable})"', svg, flags=re.IGNORECASE)
    return svg


def nice_top(highest: float) -> float:
    """The end of an axis of percentages that holds ``highest``."""
    return next((top for top in (5, 10, 20, 30, 40, 50, 60, 80) if highest <= top), 100)


def root_ticks(top: float, most: int = 9) -> list[float]:
    """Ticks up to ``top`` that stand well apart on a square-root scale, by at least one part in ``most``."""
    ticks = [0.0]
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        if tick <= top and math.sqrt(tick) - math.sqrt(ticks[-1]) >= math.sqrt(top) / most:
            ticks.append(tick)
    return ticks


def margin(labels: Sequence[str]) -> float:
    """Room for the labels of a vertical axis."""
    return 12 + CHARACTER * max(map(len, labels), default=0)
