"""How one text differs from another, line by line and within a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

__all__ = ["Line", "Piece", "compared_lines", "plain_lines"]

#: Share of common words above which a line counts as another line rewritten, and its new words are marked.
_ALIKE = 0.6
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a line; ``new`` if it is not so in the other text's line."""

    text: str
    new: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a text, without pieces if it is empty; ``changed`` if the other text does not have it here.

    ``left_out`` is the number of lines that the other text has in this place instead, for a line that is none.
    """

    pieces: tuple[Piece, ...] = ()
    changed: bool = False
    left_out: int = 0


def plain_lines(lines: Sequence[str]) -> tuple[Line, ...]:
    """``lines`` as they are, nothing marked."""
    return tuple(_line(line) for line in lines)


def compared_lines(lines: Sequence[str], other: Sequence[str]) -> tuple[Line, ...]:
    """``lines`` with those marked that ``other`` does not have in that place, and places where some are left out."""
    changes = SequenceMatcher(None, other, lines, autojunk=False).get_opcodes()
    pairs = [(other[before:before_end], lines[start:end], what) for what, before, before_end, start, end in changes]
    # What is gone in one place and new in another has only moved; empty lines are no loss.
    old_lines = {line for old, _, what in pairs if what != "equal" for line in old} | {""}
    new_lines = {line for _, new, what in pairs if what != "equal" for line in new} | {""}
    marked: list[Line] = []
    for old, new, what in pairs:
        if what == "equal":
            marked += plain_lines(new)
        elif len(old) == len(new):
            marked += [_rewritten(line, before) for line, before in zip(new, old, strict=True)]
        else:
            marked += [_line(line, changed=True) for line in new]
            gone = sum(line not in new_lines for line in old) - sum(line not in old_lines for line in new)
            marked += [Line(left_out=gone)] if gone > 0 else []
    return tuple(marked)


def _line(text: str, changed: bool = False) -> Line:
    return Line((Piece(text),), changed) if text else Line()


def _rewritten(line: str, other: str) -> Line:
    """``line`` with the words marked that ``other`` lacks; one that has little in common with it is left whole."""
    words, others = _WORDS.findall(line), _WORDS.findall(other)
    matcher = SequenceMatcher(None, others, words, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return _line(line, changed=True)
    spans = [(what != "equal", start, end) for what, _, _, start, end in matcher.get_opcodes() if start < end]
    return Line(tuple(Piece("".join(words[start:end]), new) for new, start, end in spans), changed=True)
