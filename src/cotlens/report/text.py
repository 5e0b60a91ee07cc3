"""Numbers and foreign texts as a reader should see them."""

from __future__ import annotations

import math

from cotlens.tokens import readable

__all__ = [
    "count",
    "decimal",
    "duration",
    "joined",
    "p_text",
    "percent",
    "points",
    "points_span",
    "readable",
    "real_span",
    "span",
]

#: Shown for a number that there isn't.
NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one as a percentage."""
    return NOTHING if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f}%"


def span(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval of shares, ``1.3–1.4%``."""
    if low is None or high is None or not math.isfinite(low + high):
        return NOTHING
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}%"


def points(share: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    if share is None or not math.isfinite(share):
        return NOTHING
    return f"{100 * share:+.{digits}f}".replace("-", "−")


def points_span(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval of differences, ``−1.2 to +0.4``."""
    if low is None or high is None or not math.isfinite(low + high):
        return NOTHING
    return f"{points(low, digits)} to {points(high, digits)}"


def decimal(number: float | None, digits: int = 2) -> str:
    if number is None or not math.isfinite(number):
        return NOTHING
    return f"{number:,.{digits}f}".replace("-", "−")


def real_span(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval of numbers, ``0.43 to 0.61``."""
    if low is None or high is None or not math.isfinite(low + high):
        return NOTHING
    return f"{low:,.{digits}f} to {high:,.{digits}f}".replace("-", "−")


def count(number: int | None, noun: str = "", plural: str = "") -> str:
    """``1 neuron``, ``36,134 neurons``; without a noun, the number alone."""
    shown = NOTHING if number is None else f"{number:,}"
    if not noun:
        return shown
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"


def p_text(p_value: float) -> str:
    """A p-value with two significant digits, never rounded to zero or from below one to one."""
    return f"p\u00a0=\u00a0{p_value:.2f}" if p_value >= 0.1 else f"p\u00a0=\u00a0{p_value:.2g}"


def duration(seconds: float) -> str:
    """``45 s``, ``11 min 2 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def joined(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"
