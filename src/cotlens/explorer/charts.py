"""Charts on their way to a page: the report's own figures and the explorer's, as specification, SVG or PNG."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cotlens.explorer.records import Record, Table
from cotlens.report.figure import NARROW, WIDE, Figure
from cotlens.report.svg import ACCENT, BAND, GRID, INK, MUTED, PAPER

__all__ = ["NARROW", "WIDE", "ChartRecord", "as_png", "as_record", "as_svg"]

#: The names that style sheets give to the colours of a chart, which change with the theme.
THEMED = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", PAPER: "paper", ACCENT: "accent"}
_DARK = {INK: "#e6e9ed", MUTED: "#9aa5b1", GRID: "#2a3036", BAND: "#444d57", PAPER: "#14171b", ACCENT: "#5cb8f0"}
#: Pixels of a PNG for each pixel of the chart.
_PNG_SCALE = 2.0


class ChartRecord(Record):
    """A chart as the page's script draws it."""

    name: str
    title: str
    sentence: str
    """How to read it."""
    note: str
    """What else to know."""
    spec: dict[str, Any]
    """Vega-Lite."""
    colours: dict[str, str]
    """Colours in ``spec`` that follow the theme, and the names of the style sheet's variables that hold them."""
    table: Table


def as_record(figure: Figure, width: int) -> ChartRecord:
    table = figure.table
    return ChartRecord(
        name=figure.name,
        title=figure.title,
        sentence=figure.sentence,
        note=figure.note,
        spec=figure.chart(width).to_dict(),
        colours=THEMED,
        table=Table(head=table.head, rows=list(table.rows), names=table.names),
    )


def as_svg(figure: Figure, width: int, dark: bool = False) -> str:
    """An SVG document, in the colours of one theme."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(_specification(figure, width, dark), vl_version=_vega_lite()))


def as_png(figure: Figure, width: int, dark: bool = False) -> bytes:
    import vl_convert

    specification = _specification(figure, width, dark) | {"background": _DARK[PAPER] if dark else PAPER}
    return bytes(vl_convert.vegalite_to_png(specification, vl_version=_vega_lite(), scale=_PNG_SCALE))


def _specification(figure: Figure, width: int, dark: bool) -> dict[str, Any]:
    specification: dict[str, Any] = figure.chart(width).to_dict()
    return _recoloured(specification, _DARK) if dark else specification


def _recoloured(specification: dict[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    text = json.dumps(specification)
    for light, dark in colours.items():
        text = re.sub(f'"{light}"', f'"{dark}"', text, flags=re.IGNORECASE)
    recoloured: dict[str, Any] = json.loads(text)
    return recoloured


def _vega_lite() -> str:
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
