"""Whether a text ends in a loop."""

from __future__ import annotations

from itertools import pairwise

__all__ = ["ends_in_a_loop"]

#: A unit must stand there so often, and the loop be so long in characters, to count.
_LEAST_REPEATS = 3
_LEAST_LENGTH = 24


def ends_in_a_loop(text: str) -> bool:
    """Whether the end of ``text``, at least 24 characters of it, is one unit three times or more.

    The last unit may be cut short. White space at the end does not count.
    """
    periods = _periods(text.rstrip()[::-1])
    return any(size >= max(_LEAST_LENGTH, _LEAST_REPEATS * period) for size, period in enumerate(periods, 1))


def _periods(text: str) -> list[int]:
    """The smallest period of each beginning of ``text``, by the failure function of Knuth, Morris & Pratt (1977)."""
    border = [0] * len(text)
    for place, (_, char) in enumerate(pairwise(text), 1):
        length = border[place - 1]
        while length and char != text[length]:
            length = border[length - 1]
        border[place] = length + (char == text[length])
    return [place + 1 - length for place, length in enumerate(border)]
