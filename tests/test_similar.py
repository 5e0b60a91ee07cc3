"""Similar neurons against the whole matrix of cosines in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cotlens import LanguageModel, RunConfig, open_run, run_pipeline
from cotlens.errors import InputError, NonFiniteError
from cotlens.project import similar
from cotlens.project.projection import all_neurons
from cotlens.project.similar import find_similar, most_active, similar_stage
from cotlens.store import RunWriter
from cotlens.types import NeuronId, Silent


def cosines(lm: LanguageModel) -> np.ndarray:
    """``[N, N]`` of all neurons, layer by layer; -2 of each with itself."""
    vectors = np.concatenate([ffn.value_vectors.detach().double().numpy() for ffn in lm.ffn])
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    found: np.ndarray = unit @ unit.T
    np.fill_diagonal(found, -2)
    return found


def places(lm: LanguageModel, frame: pl.DataFrame) -> np.ndarray:
    """Of each similar neuron its place among all."""
    layer, neuron = (np.array(frame[name].to_list()) for name in ("similar_layer", "similar_neuron"))
    found: np.ndarray = layer * lm.d_ff + neuron
    return found


def test_the_most_similar_of_all(lm: LanguageModel) -> None:
    neurons, expected = all_neurons(lm), cosines(lm)
    found = find_similar(lm, neurons, np.arange(len(neurons)), 4)
    assert found.select("layer", "neuron").rows() == neurons
    best = np.argsort(-expected, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(places(lm, found), best)
    np.testing.assert_allclose(found["cosine"].to_list(), np.take_along_axis(expected, best, axis=1), atol=1e-5)
    assert found.schema["cosine"] == pl.List(pl.Float32)
    assert found.schema["similar_layer"] == pl.List(pl.Int32)


def test_blocks_change_nothing(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    neurons = all_neurons(llama)
    whole = find_similar(llama, neurons, np.arange(len(neurons)), 3)
    told: list[int] = []
    monkeypatch.setattr(similar, "_NEURONS", 7)
    parts = find_similar(llama, neurons, np.arange(len(neurons)), 3, told.append)
    assert places(llama, parts).tolist() == places(llama, whole).tolist()
    assert sum(told) == len(neurons)
    assert max(told) == 7


def test_some_are_compared_with_the_most_active_alone(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "_COMPARED", 5)
    among = most_active(np.array([3, 9, 9, 1, 7, 8, 3, 3]))
    assert among.tolist() == [0, 1, 2, 4, 5]
    neurons = all_neurons(llama)[:8]
    found = find_similar(llama, neurons, among, 2)
    expected = cosines(llama)[:8, :8]
    expected[:, [3, 6, 7]] = -2
    assert places(llama, found).tolist() == np.argsort(-expected, axis=1)[:, :2].tolist()


def test_same_vectors_go_by_index_and_empty_ones_are_like_nothing(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("llama")
    weight = lm.ffn[1].down_projection.weight.data
    weight[:, 3] = weight[:, 8] = 2 * weight[:, 30]
    weight[:, 5] = 0
    neurons = [NeuronId(1, n) for n in range(48)]
    found = find_similar(lm, neurons, np.arange(48), 2).rows()
    assert [found[n][3] for n in (3, 8, 30)] == [[8, 30], [3, 30], [3, 8]]
    assert [found[n][4] for n in (3, 8, 30)] == [pytest.approx([1, 1])] * 3
    assert found[5][2:] == ([1, 1], [0, 1], [0, 0])


def test_fewer_than_asked_for(llama: LanguageModel) -> None:
    found = find_similar(llama, [NeuronId(0, 1), NeuronId(2, 4)], np.arange(2), 10)
    assert found["similar_neuron"].to_list() == [[4], [1]]
    alone = find_similar(llama, [NeuronId(0, 1)], np.arange(1), 10)
    assert alone["cosine"].to_list() == [[]]
    none = find_similar(llama, [], np.arange(0), 10)
    assert none.is_empty()
    assert none.columns == found.columns


def test_values_that_are_not_finite(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("llama")
    lm.ffn[2].down_projection.weight.data[3, 4] = float("nan")
    with pytest.raises(NonFiniteError, match="layer 2"):
        find_similar(lm, [NeuronId(0, 0), NeuronId(2, 4)], np.arange(2), 1)


def projected(path: Path, similar: int) -> RunWriter:
    """A run with four projected neurons, and the stage ``similar`` begun."""
    config = RunConfig.model_validate({"project": {"similar": similar}})
    rows = pl.DataFrame({"layer": [0, 0, 1, 1], "neuron": [3, 7, 3, 7], "hits": [5, 1, 2, 2]})
    with RunWriter.open(path, config) as run:
        for stage in ("project", "similar"):
            run.begin(stage, stage)
        run.add_frame("project", "neurons.parquet", rows)
        return run


def test_the_stage_stores_them(llama: LanguageModel, tmp_path: Path) -> None:
    run = projected(tmp_path / "run", similar=2)
    similar_stage(run, llama, Silent())
    found = open_run(run.path).similar()
    assert found.select("layer", "neuron").rows() == [(0, 3), (0, 7), (1, 3), (1, 7)]
    assert found["cosine"].list.len().to_list() == [2] * 4
    assert RunConfig().project.similar == 10


def test_a_run_without_them_says_how_to_get_them(tmp_path: Path) -> None:
    run = projected(tmp_path / "run", similar=0)
    with pytest.raises(InputError, match=r"has no similar.parquet; .*`cotlens project .*run --set project.similar=10`"):
        open_run(run.path).similar()


def test_a_run_made_before_gets_them_and_nothing_else_anew(llama_folder: Path, tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "model": {"name": str(llama_folder), "device": "cpu"},
            "problems": {"limit": 2},
            "prompt": {"variants": ["cot"], "shots": 1},
            "generate": {"max_new_tokens": 4},
            "discover": {"top_k": 3},
            "project": {"similar": 0},
        }
    )
    before = run_pipeline(config, tmp_path / "run", only="similar")
    assert not before.has_parts("similar", "similar.parquet")
    later = config.model_copy(update={"project": config.project.model_copy(update={"similar": 4})})
    after = run_pipeline(later, tmp_path / "run", only="similar")
    assert after.similar()["similar_layer"].list.len().unique().to_list() == [4]
    for stage in ("generate", "discover", "project"):
        assert after.manifest.stages[stage] == before.manifest.stages[stage]
