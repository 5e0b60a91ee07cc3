"""The kinds of columns that the numbers behind a figure have: how a cell reads, and which unrounded fields it shows."""

from __future__ import annotations

from cotlens.report.figure import Column
from cotlens.report.text import count, decimal, percent, points, points_span, real_span, span

__all__ = ["interval", "number", "real", "real_interval", "share", "shift", "shift_interval", "words"]


def words(head: str, field: str) -> Column:
    """Words."""
    return Column(head, lambda row: str(row[field]), (field,), words=True)


def number(head: str, field: str) -> Column:
    """A count."""
    return Column(head, lambda row: count(row[field]), (field,))


def real(head: str, field: str, digits: int = 2) -> Column:
    return Column(head, lambda row: decimal(row[field], digits), (field,))


def real_interval(head: str, low: str, high: str, digits: int = 2) -> Column:
    return Column(head, lambda row: real_span(row[low], row[high], digits), (low, high))


def share(head: str, field: str, digits: int = 1) -> Column:
    """A share of one, shown as a percentage."""
    return Column(head, lambda row: percent(row[field], digits), (field,))


def interval(head: str, low: str, high: str, digits: int = 1) -> Column:
    """An interval of shares, shown in percent."""
    return Column(head, lambda row: span(row[low], row[high], digits), (low, high))


def shift(head: str, field: str, digits: int = 2) -> Column:
    """A difference of shares, shown in percentage points with its sign."""
    return Column(head, lambda row: points(row[field], digits), (field,))


def shift_interval(head: str, low: str, high: str, digits: int = 2) -> Column:
    return Column(head, lambda row: points_span(row[low], row[high], digits), (low, high))
