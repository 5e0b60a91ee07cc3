"""Runs that are damaged or half done, caches that can't be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.explorer.activity_run import WIDTH, activations

from cotlens.errors import EnvironmentFault, InputError
from cotlens.explorer import ActivityIndex
from cotlens.files import cache_folder
from cotlens.store import Run, RunWriter, open_run

MakeRun = Callable[..., Run]


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run(questions=5)


def with_part(run: Run, name: str, frame: pl.DataFrame) -> Run:
    """The run with one more part of activations, or another in the place of one."""
    RunWriter(run.path, run.manifest).add_frame("discover", f"activations/{name}", frame)
    return open_run(run.path)


def test_a_run_without_activations(run: Run) -> None:
    del run.manifest.stages["discover"]
    with pytest.raises(InputError, match="stage 'discover' has not run"):
        ActivityIndex.open(run)


def test_parts_so_far_are_indexed_and_more_make_another_index(run: Run) -> None:
    before = ActivityIndex.open(run)
    with_more = with_part(run, "cot-0009.parquet", activations(np.random.default_rng(9), "cot", "q9", 5))
    after = ActivityIndex.open(with_more)
    assert after.completions.height == before.completions.height + 1


def test_a_missing_part_is_named(run: Run) -> None:
    (run.path / "activations/cot-0001.parquet").unlink()
    with pytest.raises(InputError, match=r"activations/cot-0001.parquet: missing or damaged.*cotlens run"):
        ActivityIndex.open(run)


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:99] + b"?" + raw[100:]])
def test_a_damaged_part_is_named_and_leaves_no_index(run: Run, damage: Callable[[bytes], bytes]) -> None:
    part = run.path / "activations/cot-0001.parquet"
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(
        InputError, match=r"cot-0001.parquet: (missing or damaged|checksum does not match).*cotlens run"
    ):
        ActivityIndex.open(run)
    assert not (cache_folder() / "indexes").exists()


def test_a_part_that_goes_missing_later_is_named_when_it_is_read(run: Run) -> None:
    index = ActivityIndex.open(run)
    part = run.path / "activations/cot-0001.parquet"
    part.write_bytes(part.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"cot-0001.parquet: missing or damaged"):
        index.steps("cot", "q4")
    part.unlink()
    with pytest.raises(InputError, match=r"cot-0001.parquet: missing or damaged"):
        index.steps("cot", "q4")
    assert index.steps("cot", "q0").height
    assert index.summary(1, 1).hits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit(3, pl.Int32).alias("layer"), "a layer that is not between 0 and 2"),
        (pl.col("neuron") + WIDTH, f"a neuron that is not between 0 and {WIDTH - 1}"),
        (pl.col("neuron") - WIDTH, f"a neuron that is not between 0 and {WIDTH - 1}"),
        (pl.col("neuron", "coefficient", "score").list.head(2), "2 neurons in a row, 6 expected"),
        (pl.col("score").list.head(pl.col("step") + 1), "rows of different lengths"),
    ],
)
def test_rows_that_can_not_be_are_refused(run: Run, change: pl.Expr, message: str) -> None:
    frame = activations(np.random.default_rng(9), "cot", "q9", 5).with_columns(change)
    with pytest.raises(InputError, match=rf"cot-0009.parquet: .*{message}.*cotlens run"):
        ActivityIndex.open(with_part(run, "cot-0009.parquet", frame))


def test_rows_of_a_question_that_are_not_together(run: Run) -> None:
    frame = activations(np.random.default_rng(9), "cot", "q0", 5)
    with pytest.raises(
        InputError, match=r"cot-0009.parquet: the rows of question 'q0', variant 'cot', are not together"
    ):
        ActivityIndex.open(with_part(run, "cot-0009.parquet", frame))


@pytest.mark.parametrize("name", ["index.json", "counts.npy", "contexts.npy", "completions.parquet"])
def test_a_damaged_index_is_made_again(run: Run, name: str) -> None:
    before = ActivityIndex.open(run).summary(1, 1).counts.tolist()
    [folder] = (cache_folder() / "indexes").iterdir()
    damaged = folder / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    assert ActivityIndex.open(run).summary(1, 1).counts.tolist() == before
    assert list((cache_folder() / "indexes").iterdir()) == [folder]


def test_a_cache_that_can_not_be_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("COTLENS_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFault, match=r"indexes/\w+: can't be written .*COTLENS_CACHE"):
        ActivityIndex.open(run)


def test_a_full_disk_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        ActivityIndex.open(run)
    assert list((cache_folder() / "indexes").iterdir()) == []


def test_completions_without_a_step_are_no_obstacle(run: Run) -> None:
    empty = activations(np.random.default_rng(9), "cot", "q9", 1).clear()
    assert ActivityIndex.open(with_part(run, "cot-0009.parquet", empty)).completions.height == 10
