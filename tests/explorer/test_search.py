"""Neurons found by token, concept, layer and activity."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from tests import labelled_run
from tests.report.conftest import LABELLED, LAYERS, WIDTH

from cotlens.explorer.opened import OpenedRun, RunFolder
from cotlens.explorer.search import NeuronFilter, NeuronList, find_neurons

postings = importlib.import_module("cotlens.explorer.postings")


@pytest.fixture(params=[3, postings._NEURONS], ids=["in pieces", "at once"])
def projected(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenedRun:
    """Neurons 0 to 3 of every layer promote words of `labelled_run.PLACED`; some are indexed at a time, or all."""
    monkeypatch.setattr(postings, "_NEURONS", request.param)
    labelled_run.make_projected_run(tmp_path / "run")
    return RunFolder(tmp_path / "run").now()


@pytest.fixture
def labelled(finished: Path) -> OpenedRun:
    return RunFolder(finished).now()


def names(found: NeuronList) -> list[tuple[int, int]]:
    return [(row.layer, row.neuron) for row in found.rows]


def test_a_word_is_found_whatever_its_case_and_spaces(projected: OpenedRun) -> None:
    placed = [neuron for neuron, words in labelled_run.PLACED.items() if " plus" in words]
    expected = [(layer, neuron) for layer in range(labelled_run.LAYERS) for neuron in placed]
    found = find_neurons(projected, NeuronFilter(token="PLUS"))
    assert names(found) == expected
    assert found.tokens == ["␣plus"]
    assert {(row.end, row.token, row.rank) for row in found.rows} == {("promoted", "␣plus", 1)}
    assert names(find_neurons(projected, NeuronFilter(token="plu"))) == []
    assert names(find_neurons(projected, NeuronFilter(token="plu", match="contains"))) == expected
    assert names(find_neurons(projected, NeuronFilter(token=" plus", match="exact"))) == expected
    assert names(find_neurons(projected, NeuronFilter(token="plus", match="exact"))) == []


def test_the_best_rank_and_either_end_count(projected: OpenedRun) -> None:
    total = find_neurons(projected, NeuronFilter(token="total"))
    assert [(row.neuron, row.rank) for row in total.rows[:8]] == [(1, 2)] * 4 + [(0, 3)] * 4 or [
        row.rank for row in total.rows
    ] == sorted(row.rank or 0 for row in total.rows)
    low = find_neurons(projected, NeuronFilter(token="d2x5y3"))
    assert [(row.layer, row.neuron, row.end, row.rank) for row in low.rows] == [(2, 5, "suppressed", 4)]
    assert names(find_neurons(projected, NeuronFilter(token="d2x5y3", end="promoted"))) == []


def test_filters_narrow_each_other(projected: OpenedRun, labelled: OpenedRun) -> None:
    found = find_neurons(projected, NeuronFilter(token="plus", min_layer=1, max_layer=2))
    assert {layer for layer, _ in names(found)} == {1, 2}
    assert find_neurons(projected, NeuronFilter(min_hits=31)).page.total == 0
    carried = {(layer, neuron) for layer, neuron, _, concept in LABELLED if concept == "add"}
    assert set(names(find_neurons(labelled, NeuronFilter(concept="add")))) == carried
    every = {(layer, neuron) for layer, neuron, *_ in LABELLED}
    assert set(names(find_neurons(labelled, NeuronFilter(concept="any")))) == every


def test_lists_are_sorted_and_cut_into_pages(labelled: OpenedRun) -> None:
    first = find_neurons(labelled, NeuronFilter(), 1, 5)
    assert (first.page.total, first.page.pages) == (LAYERS * WIDTH, 7)
    hits = [row.hits or 0 for row in first.rows]
    assert hits == sorted(hits, reverse=True)
    by_place = find_neurons(labelled, NeuronFilter(sort="layer"), 2, 5)
    assert names(by_place) == [(0, 5), (0, 6), (0, 7), (1, 0), (1, 1)]
    backwards = find_neurons(labelled, NeuronFilter(sort="layer", descending=True), 1, 2)
    assert names(backwards)[0][0] == LAYERS - 1
    assert find_neurons(labelled, NeuronFilter(), 99, 5).rows == []
