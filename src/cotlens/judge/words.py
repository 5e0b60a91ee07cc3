"""When two tokens are the same word."""

from __future__ import annotations

__all__ = ["normalise"]

_AROUND = " \t\r\n\"'`“”‘’"


def normalise(token: str) -> str:
    """``token`` without surrounding spaces and quotes, case folded: `` Plus``, ``plus`` and ``"plus`` are one word."""
    return token.strip(_AROUND).casefold()
