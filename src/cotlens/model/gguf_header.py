"""The settings at the head of a GGUF file, without its tensors and without the entries of its lists.

The package ``gguf`` reads every token of the vocabulary into an array of its own, which takes seconds; what a model
looks like must be known before that.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from cotlens.errors import ModelFormatError

__all__ = ["GGUF_MAGIC", "read_gguf_header"]

GGUF_MAGIC = b"GGUF"
#: Value types of the format by number: fixed-size ones as struct formats; 8 is a string, 9 a list.
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9


def read_gguf_header(path: Path) -> dict[str, Any]:
    """Every setting by its name; of a list, its length.

    Raises:
        ModelFormatError: no GGUF file, or one cut short.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _settings(_Cursor(data))
    except (struct.error, ValueError, KeyError):
        raise ModelFormatError(f"{path}: not a GGUF file, or damaged") from None


class _Cursor:
    """A place in the file that moves on with every value read. Numbers are little-endian."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._place = 0

    def number(self, code: str) -> Any:
        [value] = struct.unpack_from(f"<{code}", self._data, self._place)
        self.skip(struct.calcsize(code))
        return value

    def text(self) -> str:
        start = self._place + 8
        self.skip(self.number("Q"))
        return self._data[start : self._place].decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        self._place += count
        if self._place > len(self._data):
            raise ValueError("cut short")

    def skip_texts(self, count: int) -> None:
        """Pass over many texts at once: a vocabulary has hundreds of thousands."""
        data, place, length_at = self._data, self._place, struct.Struct("<Q").unpack_from
        for _ in range(count):
            place += 8 + length_at(data, place)[0]
        self.skip(place - self._place)


def _settings(cursor: _Cursor) -> dict[str, Any]:
    if cursor.number("4s") != GGUF_MAGIC:
        raise ValueError("no GGUF file")
    cursor.number("I")  # version; lengths have had 64 bits since the second
    cursor.number("Q")  # tensors
    return {cursor.text(): _value(cursor, cursor.number("I")) for _ in range(cursor.number("Q"))}


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind == _STRING:
        return cursor.text()
    if kind != _LIST:
        return cursor.number(_FIXED[kind])
    entries, count = cursor.number("I"), cursor.number("Q")
    if entries in _FIXED:
        cursor.skip(count * struct.calcsize(_FIXED[entries]))
    elif entries == _STRING:
        cursor.skip_texts(count)
    else:
        for _ in range(count):
            _value(cursor, entries)
    return count
