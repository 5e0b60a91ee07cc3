"""Rows of files that users have: JSON Lines, JSON, CSV and Parquet, each with the line or row it comes from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from cotlens.data.problem_rows import Row
from cotlens.errors import DataError

__all__ = ["KINDS", "file_rows", "json_lines"]


def file_rows(source: str) -> Iterator[Row]:
    """The rows of the file ``source``, whose name says what kind it is.

    Raises:
        DataError: no such file, another kind of file, or a row that can't be read, naming file and line.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(f"{source}: {error}") from None
    data = _read(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: problems are not read from {path.suffix or 'such'} files; give {KINDS}")
    yield from read(data, path)


def json_lines(text: str, name: str) -> Iterator[Row]:
    """One JSON object a line; blank lines are skipped.

    Raises:
        DataError: a line that is no JSON object; ``name`` stands before its number.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{name}, line {number}"
            yield _object(_parse(line, where), where)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the name of a problem set, or the path of {KINDS}") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; give the file in it") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read: {error}") from None


def _decode(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {data[error.start]:#04x} is no UTF-8; save the file as UTF-8 text"
        ) from None


def _json(data: bytes, path: Path) -> Iterator[Row]:
    """JSON Lines, or one list of objects."""
    text = _decode(data, path)
    if not text.lstrip().startswith("["):
        yield from json_lines(text, str(path))
        return
    for number, value in enumerate(_parse(text, str(path)), start=1):
        where = f"{path}, row {number}"
        yield _object(value, where)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise DataError(f"{where}: not valid JSON ({error.msg} at {line}column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise DataError(f"{where}: not valid JSON ({error})") from None


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return Row(where, value)


def _csv(data: bytes, path: Path) -> Iterator[Row]:
    """Comma-separated, with a header; a quoted cell may hold line breaks."""
    reader = csv.reader(io.StringIO(_decode(data, path), newline=""), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{where}: not valid CSV ({error})") from None
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _header(cells, where)
        elif len(cells) != len(header):
            raise DataError(f"{where}: {len(cells)} cells under a header of {len(header)}")
        else:
            yield Row(where, dict(zip(header, cells, strict=True)))


def _header(cells: list[str], where: str) -> list[str]:
    twice = {cell for cell in cells if cells.count(cell) > 1}
    if twice:
        raise DataError(f"{where}: the column {min(twice)!r} stands there twice")
    return cells


def _parquet(data: bytes, path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.ParquetFile(io.BytesIO(data)).read().to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a Parquet file that can be read ({reason})") from None
    for number, values in enumerate(rows, start=1):
        yield Row(f"{path}, row {number}", values)


_READERS: dict[str, Callable[[bytes, Path], Iterator[Row]]] = {
    ".jsonl": _json,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
#: What a file of problems may be, in words.
KINDS = "a .jsonl, .json, .csv or .parquet file"
