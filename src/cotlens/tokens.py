"""Token texts made fit to be looked at: on a terminal, in a report, anywhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Set

__all__ = ["printable", "readable", "visible"]

_SHOWN = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
# Unicode categories that can't be seen, or that act on the text around them: control, format, surrogate, unassigned.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Spaces, such as the no-break one: a token of nothing else could not be seen.
_SPACE = "Zs"
_UNSEEN_IN_TOKENS = _UNSEEN | {_SPACE}


def visible(token: str, most: int = 24) -> str:
    """``token`` with spaces and newlines shown as signs, and what else can't be seen or could act (unusual spaces,
    escapes, direction marks) escaped.

    Longer texts are cut to ``most`` characters with an ellipsis.
    """
    cut = token if len(token) <= most else token[: most - 1] + "…"
    return "".join(_SHOWN.get(char) or _escape(char, _UNSEEN_IN_TOKENS) for char in cut)


def readable(text: str, most: int = 2000) -> str:
    """``text`` with its spaces and line breaks as they are, and whatever could hide or act escaped as in `visible`."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(char if char == "\n" or unicodedata.category(char) == _SPACE else visible(char) for char in cut)


def printable(text: str) -> str:
    """``text`` as it is, but for what could hide or act (escapes, direction marks), which is escaped; so that it can be
    written to a terminal. Spaces, tabs and line breaks stay."""
    return "".join(char if char in " \n\t" else _escape(char) for char in text)


def _escape(char: str, unseen: Set[str] = _UNSEEN) -> str:
    if unicodedata.category(char) not in unseen:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
