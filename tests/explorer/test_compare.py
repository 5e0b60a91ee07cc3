"""Two variants beside each other, against plain counting."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from cotlens.errors import InputError
from cotlens.explorer.compare import compare
from cotlens.explorer.compare_charts import compare_figures
from cotlens.explorer.opened import OpenedRun, RunFolder
from cotlens.store import RunWriter, open_run


@pytest.fixture
def opened(finished: Path) -> OpenedRun:
    found = RunFolder(finished).now()
    found.index(patience_s=60)
    return found


@pytest.fixture
def unequal(finished: Path, tmp_path: Path) -> OpenedRun:
    """The same run, where text_only answers other questions right: q0 is lost, q3 gained."""
    folder = Path(shutil.copytree(finished, tmp_path / "unequal"))
    run = RunWriter(folder, open_run(folder).manifest)
    frame = pl.read_parquet(folder / "completions/1.parquet")
    correct = pl.col("question_id").is_in(["q1", "q3"])
    run.add_frame("generate", "completions/1.parquet", frame.with_columns(correct=correct))
    found = RunFolder(folder).now()
    found.index(patience_s=60)
    return found


def test_accuracy_is_compared_on_the_same_questions(unequal: OpenedRun) -> None:
    found = compare(unequal, "cot", unequal, "text_only")
    assert found.accuracy is not None
    assert (found.accuracy.both, found.accuracy.only_a, found.accuracy.only_b, found.accuracy.neither) == (1, 1, 1, 1)
    assert found.accuracy.difference == 0
    assert found.accuracy.p_value == 1
    assert [(q.question_id, q.correct_a, q.correct_b) for q in found.questions] == [
        ("q0", True, False), ("q3", False, True),
    ]  # fmt: skip


def test_neurons_are_counted_as_they_are_active(opened: OpenedRun) -> None:
    found = compare(opened, "cot", opened, "text_only").neurons
    assert found is not None
    entries = opened.run.activations().explode("neuron", "coefficient")
    sets = [set(entries.filter(variant=name).select("layer", "neuron").rows()) for name in ("cot", "text_only")]
    assert (found.shared, found.only_a, found.only_b) == (len(sets[0] & sets[1]), 0, 0)
    row = found.rows[0]
    own = entries.filter(variant="cot", layer=row.layer, neuron=row.neuron).height
    assert (row.hits_a, row.rate_a) == (own, pytest.approx(1000 * own / found.steps_a))
    only = compare(opened, "cot", opened, "text_only", "only a").neurons
    assert only is not None
    assert only.rows == []


def test_two_runs_are_compared(opened: OpenedRun, unequal: OpenedRun) -> None:
    found = compare(opened, "text_only", unequal, "text_only")
    assert (found.a.correct, found.b.correct) == (2, 2)
    assert found.accuracy is not None
    assert found.accuracy.only_a == 1
    assert found.neurons is not None
    assert found.neurons.only_a == 0


def test_concepts_stand_in_their_order_with_all_of_them_last(opened: OpenedRun) -> None:
    found = compare(opened, "cot", opened, "text_only")
    assert [pair.concept for pair in found.concepts] == ["add", "equals", "logic", "all"]
    figures = compare_figures(found, "cot", "text_only", 0.95)
    assert list(figures) == ["compare-accuracy", "compare-frequencies"]
    frame = opened.run.frequencies().filter(variant="cot", concept="add", set="concept")
    assert figures["compare-frequencies"].rows[0]["frequency"] == frame["frequency"][0]


def test_an_unknown_variant_is_named(opened: OpenedRun) -> None:
    with pytest.raises(InputError, match="did you mean 'cot'"):
        compare(opened, "cott", opened, "text_only")
