"""What a figure is: a chart in any width, a sentence that says how to read it, and the numbers behind it.

The report, the explorer and the figures for a paper show the same `Figure`; only what they do with its chart differs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cotlens.report.tables import Row
from cotlens.report.text import readable

__all__ = ["NARROW", "WIDE", "Column", "Figure", "NothingToShow", "Shown", "Table"]

#: Width of a chart beside a wide and on a narrow screen, in pixels.
WIDE, NARROW = 860, 356

#: A spreadsheet takes a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")


class NothingToShow(Exception):  # noqa: N818 - no error: the run simply has nothing of the kind
    """Raised where a run holds nothing to draw; the message says what is missing, or why there is nothing."""


class Shown(NamedTuple):
    """A figure, or the reason why a run has none."""

    figure: Figure | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """``rows`` of ready texts; the first ``names`` columns are words, the others numbers."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    names: int = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the numbers behind a figure: how a row's cell reads, and the unrounded fields it shows."""

    head: str
    cell: Callable[[Row], str]
    fields: tuple[str, ...]
    words: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart as a reader meets it."""

    name: str
    title: str
    sentence: str
    """How to read the chart, in one sentence."""
    chart: Callable[[int], Any]
    """The Altair chart in a width in pixels; tooltips are part of it."""
    columns: tuple[Column, ...]
    """Those that hold words come first."""
    rows: Sequence[Row]
    """The numbers behind the chart."""
    note: str = ""
    """What else a reader should know, if anything."""
    key: tuple[tuple[str, str], ...] = ()
    """Pairs of a mark's class and its meaning."""
    number: int = 0
    section: str = ""
    """The id of the part of the report that it stands in."""

    @property
    def table(self) -> Table:
        """The numbers as a reader sees them."""
        cells = [tuple(column.cell(row) for column in self.columns) for row in self.rows]
        return Table(tuple(c.head for c in self.columns), cells, sum(c.words for c in self.columns))

    @property
    def csv(self) -> str:
        """The numbers unrounded, with the names of the run's own tables; what is missing is empty."""
        fields = list(dict.fromkeys(field for column in self.columns for field in column.fields))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(fields)
        writer.writerows([_plain(row.get(field)) for field in fields] for row in self.rows)
        return buffer.getvalue()


def _plain(value: object) -> object:
    """A text that a spreadsheet would take for a formula is set off by an apostrophe."""
    if isinstance(value, str):
        text = readable(value, len(value))
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value
