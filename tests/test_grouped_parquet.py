"""Tables of numbers as they are written and read again."""

from __future__ import annotations

import io

import polars as pl
import pytest
from pyarrow import ArrowException, parquet

from cotlens.grouped_parquet import grouped_parquet

FRAME = pl.DataFrame(
    {
        "variant": ["cot"] * 10,
        "step": pl.Series(range(10), dtype=pl.Int32),
        "neuron": pl.Series([[n, n + 1] for n in range(10)], dtype=pl.List(pl.Int32)),
        "score": pl.Series([[n / 3, -n / 7] for n in range(10)], dtype=pl.List(pl.Float32)),
    }
)


def test_a_frame_comes_back_as_it_was() -> None:
    data = grouped_parquet(FRAME, 4)
    assert pl.read_parquet(io.BytesIO(data)).equals(FRAME)
    assert pl.read_parquet(io.BytesIO(data)).schema == FRAME.schema
    assert grouped_parquet(FRAME, 4) == data
    written = parquet.read_metadata(io.BytesIO(data))
    assert [written.row_group(group).num_rows for group in range(written.num_row_groups)] == [4, 4, 2]


def test_fractions_are_not_compressed_and_nothing_may_be_null() -> None:
    file = parquet.ParquetFile(io.BytesIO(grouped_parquet(FRAME, 100)))
    group = file.metadata.row_group(0)
    assert [group.column(n).compression for n in range(4)] == ["ZSTD", "ZSTD", "ZSTD", "UNCOMPRESSED"]
    assert not any(field.nullable for field in file.schema_arrow)
    assert not file.schema_arrow.field("neuron").type.value_field.nullable


def test_a_frame_without_rows() -> None:
    found = pl.read_parquet(io.BytesIO(grouped_parquet(FRAME.clear(), 4)))
    assert found.is_empty()
    assert found.schema == FRAME.schema


def test_nulls_are_refused() -> None:
    with pytest.raises((ArrowException, ValueError)):
        grouped_parquet(FRAME.with_columns(step=pl.lit(None, pl.Int32)), 4)
