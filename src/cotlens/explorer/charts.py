"""A chart on its way to the script that draws it."""

from __future__ import annotations

from typing import Any

from cotlens.explorer.records import Record, Table
from cotlens.report.figure import Figure
from cotlens.report.svg_text import THEMED

__all__ = ["ChartRecord", "as_record"]


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
    """The figure ``width`` pixels wide, and the numbers behind it."""
    table = figure.table
    return ChartRecord(
        name=figure.name,
        title=figure.title,
        sentence=figure.sentence,
        note=figure.note,
        spec=figure.chart(width).to_dict(validate=False),  # our own, and to validate takes longer than to make
        colours=THEMED,
        table=Table(head=table.head, rows=list(table.rows), names=table.names),
    )
