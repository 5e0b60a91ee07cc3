"""Reading parts of activations: the rows of one completion, and all rows piece by piece."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Int32

from cotlens.errors import InputError

__all__ = ["ROWS_AT_ONCE", "Chunk", "Segment", "read_chunks", "read_rows", "read_segments"]

#: Rows read at once while an index is built: few enough for memory that is used again and again.
ROWS_AT_ONCE = 8192
_COUNTED = ["step", "layer", "neuron", "coefficient", "score"]


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of one completion in a part."""

    variant: str
    question_id: str
    row: int
    rows: int
    steps: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """``R`` rows of a part, from row ``first`` on."""

    first: int
    step: Int32[np.ndarray, " R"]
    layer: Int32[np.ndarray, " R"]
    neuron: Int32[np.ndarray, "R K"]
    coefficient: Float32[np.ndarray, "R K"]
    score: Float32[np.ndarray, "R K"]


def read_rows(part: Path, first: int, count: int, columns: list[str]) -> pl.DataFrame:
    """``count`` rows from row ``first`` on; only the row groups that hold them are read.

    Raises:
        InputError: the part is missing or damaged.
    """
    with _opened(part) as file:
        groups: list[int] = []
        before = 0
        start = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if before + rows > first and before < first + count:
                start = before if not groups else start
                groups.append(group)
            before += rows
        if before < first + count:
            raise ValueError(f"{before} rows, {first + count} expected")
        table = file.read_row_groups(groups, columns=columns, use_threads=False)
        found = pl.from_arrow(table.slice(first - start, count))
        assert isinstance(found, pl.DataFrame)
        return found


def read_segments(part: Path) -> list[Segment]:
    """The completions of a part, in the order of its rows.

    Raises:
        InputError: the part is missing or damaged.
    """
    with _opened(part) as file:
        table = file.read(columns=["variant", "question_id", "step"], use_threads=False)
        (variant, variants), (question, questions) = (_codes(table[name]) for name in ("variant", "question_id"))
        step = table["step"].to_numpy()
        changes = np.flatnonzero((np.diff(variant) != 0) | (np.diff(question) != 0)) + 1
        starts = [0, *changes.tolist()] if len(step) else []
        ends = [*starts[1:], len(step)][: len(starts)]
        return [
            Segment(
                variant=variants[variant[start]],
                question_id=questions[question[start]],
                row=start,
                rows=end - start,
                steps=int(step[start:end].max()) + 1,
            )
            for start, end in zip(starts, ends, strict=True)
        ]


def read_chunks(part: Path) -> Iterator[Chunk]:
    """All rows of a part, a bounded number at a time.

    Raises:
        InputError: the part is missing or damaged.
    """
    with _opened(part) as file:
        first = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=_COUNTED, use_threads=False):
            chunk = _chunk(first, batch)
            first += len(chunk.step)
            yield chunk


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[Any]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(part, read_dictionary=["variant", "question_id"]) as file:
            yield file
    except (OSError, ValueError, KeyError, ArrowException) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{part}: missing or damaged ({told}); run `cotlens run` again to mend it") from None


def _chunk(first: int, batch: Any) -> Chunk:
    step, layer = (batch[name].to_numpy() for name in ("step", "layer"))
    return Chunk(
        first, step, layer, *(_rectangle(batch[name], len(step)) for name in ("neuron", "coefficient", "score"))
    )


def _rectangle(lists: Any, rows: int) -> np.ndarray:
    values = lists.flatten()
    lengths = np.diff(lists.offsets.to_numpy())
    if lists.null_count or values.null_count or (rows and (lengths != lengths[0]).any()):
        raise ValueError("rows of different lengths")
    found: np.ndarray = values.to_numpy().reshape(rows, -1)
    return found


def _codes(column: Any) -> tuple[np.ndarray, list[str]]:
    unified = column.unify_dictionaries().combine_chunks()
    return unified.indices.to_numpy(), unified.dictionary.to_pylist()
