"""How every chart looks, and how it becomes SVG.

Charts are drawn in fixed colours. In a page the neutral ones and the accent become CSS variables
(`cotlens.report.svg_text`), so that one SVG serves light, dark and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cotlens.tokens import readable

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "ACCENT",
    "BAND",
    "CHARACTER",
    "FONT",
    "GRID",
    "ID",
    "INK",
    "MUTED",
    "ON_DARK",
    "ON_LIGHT",
    "PAPER",
    "PART",
    "axis_title",
    "concept_colour",
    "dressed",
    "fitted",
    "heading",
    "margin",
    "nice_top",
    "panels",
    "renamed",
    "root_ticks",
    "specification",
    "to_svg",
    "told",
]

INK = "#1b1f24"
MUTED = "#5b6570"
GRID = "#e4e7eb"
BAND = "#c9cfd6"
PAPER = "#fefefe"
ACCENT = "#0072b1"  # one step from the first concept's blue, which must not follow the theme

#: Type on coloured tiles, which don't follow the theme.
ON_LIGHT, ON_DARK = "#16191d", "#ffffff"

#: Mean width of a character of a label, in pixels.
CHARACTER = 6.0

#: An id within a picture, and what it begins with.
ID = re.compile(r' id="([^"]+)"')
PART = "part-"

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
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
    import altair as alt

    text: dict[str, Any] = {
        "labelFont": FONT,
        "titleFont": FONT,
        "labelColor": INK,
        "titleColor": MUTED,
        "labelFontSize": 12,
    }
    title: dict[str, Any] = {"titleFontSize": 12, "titleFontWeight": "normal"}
    axis: dict[str, Any] = {"titlePadding": 10, "labelPadding": 6, "labelLimit": longest_label, "gridColor": GRID}
    header: dict[str, Any] = {"labelFontSize": 13, "labelFontWeight": "bold", "labelAnchor": "start", "title": None}
    # At once: each of Altair's `configure_` methods copies the chart with all its data.
    chart.config = alt.Config(
        font=FONT,
        background="transparent",
        padding=4,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(**text | title | axis | {"domain": False, "ticks": False}),
        header=alt.HeaderConfig(**text | header),
        legend=alt.LegendConfig(**text | title | {"symbolType": "square", "symbolSize": 110}),
        text=alt.MarkConfig(font=FONT, fontSize=12),
        mark=alt.MarkConfig(aria=False),
    )
    return chart


def told(layer: Any, aloud: bool = True) -> Any:
    """``layer`` whose marks say the field ``tip`` of their row when pointed at, and, ``aloud``, to a screen reader.

    In a page's SVG only what is told aloud has a title; of several marks in one place one suffices.
    """
    import altair as alt

    layer = layer.encode(tooltip=alt.Tooltip("tip:N"))
    if aloud:
        layer.mark["aria"] = True
        layer = layer.encode(description=alt.Description("tip:N"))
    return layer


def fitted(chart: Any, width: int, height: float) -> Any:
    """``chart`` with its labels within ``width``, of which they take no more than a third, or what a name needs."""
    size = {"type": "fit-x", "contains": "padding"}
    return dressed(chart.properties(width=width, height=height, autosize=size), max(150, min(260, width / 3)))


def axis_title(text: str) -> alt.TitleParams:
    """One title for the horizontal axes of all panels."""
    import altair as alt

    return alt.TitleParams(
        text, orient="bottom", anchor="middle", offset=8, font=FONT, fontSize=12, fontWeight="normal", color=MUTED
    )


def heading(text: str) -> alt.TitleParams:
    """The name of a panel, over it."""
    import altair as alt

    return alt.TitleParams(
        text, anchor="start", frame="group", offset=6, font=FONT, fontSize=13, fontWeight="bold", color=INK
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


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The Vega-Lite specification of ``chart``, with data and tooltips, every text of it fit to be shown.

    The renderer ends the process at some characters that can't be seen, such as NUL.
    """
    found: dict[str, Any] = _shown(chart.to_dict(validate=False))
    return found


def _shown(part: Any) -> Any:
    if isinstance(part, str):
        return part if part.isprintable() else readable(part, len(part))
    if isinstance(part, dict):
        return {_shown(name): _shown(value) for name, value in part.items()}
    return [_shown(value) for value in part] if isinstance(part, list | tuple) else part


def to_svg(chart: alt.TopLevelMixin) -> str:
    """``chart`` as an SVG document in its own colours, for a paper or a file."""
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    svg = str(vl_convert.vegalite_to_svg(specification(chart), vl_version=version))
    # The renderer counts its ids through all charts of a process; counted anew, the same chart is the same text.
    for number, inner in enumerate(dict.fromkeys(ID.findall(svg))):
        svg = renamed(svg, inner, f"{PART}{number}")
    return svg


def renamed(svg: str, inner: str, name: str) -> str:
    """``svg`` with the id ``inner``, and what refers to it, called ``name``."""
    return svg.replace(f' id="{inner}"', f' id="{name}"').replace(f"url(#{inner})", f"url(#{name})")


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
