"""The logit lens recorded while discovering, against whole forward passes with hidden states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from cotlens import LanguageModel, RunConfig, open_run, run_pipeline
from cotlens.capture import Passage, lens, open_reader, record_lens
from cotlens.errors import InputError, NonFiniteError
from cotlens.logit_lens import read_layers, read_streams
from cotlens.model.shared_prefix import compute_prefix

BEGIN = "Question: A box holds 12 pens."
TEXTS = (f"{BEGIN} So 3 boxes hold 36 pens.", f"{BEGIN} Two break.", f"{BEGIN} How many? The answer is 12.")


def passages(lm: LanguageModel) -> tuple[list[int], list[Passage]]:
    begin = lm.encode(BEGIN)[:-1]
    return begin, [Passage(lm.encode(text), len(begin) + 2) for text in TEXTS]


def layers_of(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    """``[S, L, V]`` log-probabilities, from hidden states and the model's own norm and head."""
    states = read_streams(lm, ids).layers
    with torch.inference_mode():
        logits = [lm.model.get_output_embeddings()(lm.final_norm(state.to(lm.dtype))) for state in states]
    return torch.stack(logits, dim=1).float().log_softmax(dim=-1)


@pytest.mark.parametrize("ranker", ["norm", "dla", "grad"])
def test_equals_the_hidden_states_through_norm_and_head(lm: LanguageModel, ranker: str) -> None:
    begin, read = passages(lm)
    with record_lens(lm, 4) as recorder, open_reader(lm, 3, ranker, recorder) as reader:
        reader.read(compute_prefix(lm, begin), read)
        found = recorder.take()
    row = 0
    for passage in read:
        expected = layers_of(lm, list(passage.token_ids))[passage.prompt_length - 1 : -1]
        best = expected.topk(4, dim=-1)
        steps = slice(row, row + passage.steps)
        np.testing.assert_array_equal(found.token[steps], best.indices.numpy())
        np.testing.assert_allclose(found.probability[steps], best.values.exp().numpy(), rtol=1e-3, atol=1e-6)
        row += passage.steps
    assert row == len(found.token)


def test_agrees_with_the_lens_of_a_trace(llama: LanguageModel) -> None:
    ids = llama.encode(TEXTS[0])
    traced = read_layers(llama, read_streams(llama, ids[:-1]), ids[1:])
    with record_lens(llama, 1) as recorder, open_reader(llama, 3, "norm", recorder) as reader:
        reader.read(compute_prefix(llama, []), [Passage(ids, 1)])
        found = recorder.take()
    assert [[llama.token_text(int(one)) for one in step] for step in found.token[:, :, 0]] == [
        [layer["token"] for layer in step] for step in traced
    ]
    np.testing.assert_allclose(
        found.probability[:, :, 0], [[layer["probability"] for layer in step] for step in traced], rtol=1e-4
    )


def test_activations_are_the_same_bit_for_bit_and_hooks_go(llama: LanguageModel) -> None:
    begin, read = passages(llama)

    def hooks() -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.model.modules())

    before = hooks()
    with open_reader(llama, 3, "norm") as reader:
        without = reader.read(compute_prefix(llama, begin), read)
    with record_lens(llama, 2) as recorder, open_reader(llama, 3, "norm", recorder) as reader:
        with_lens = reader.read(compute_prefix(llama, begin), read)
    np.testing.assert_array_equal(with_lens.coefficient, without.coefficient)
    assert hooks() == before


def test_pieces_of_steps_change_nothing(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, read = passages(llama)

    def taken() -> lens.LensTop:
        with record_lens(llama, 2) as recorder, open_reader(llama, 3, "norm", recorder) as reader:
            reader.read(compute_prefix(llama, begin), read)
            return recorder.take()

    whole = taken()
    monkeypatch.setattr(lens, "LOGITS_AT_ONCE", 3 * 400)
    for found, expected in zip(taken(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_is_not_finite_names_the_layer(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("llama")
    lm.final_norm.weight.data[0] = float("inf")
    begin, read = passages(lm)
    with (
        record_lens(lm, 2) as recorder,
        open_reader(lm, 3, "norm", recorder) as reader,
        pytest.raises(NonFiniteError, match="layer 0"),
    ):
        reader.read(compute_prefix(lm, begin), read)


def test_more_tokens_than_there_are(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"discover.logit_lens is 401; give 0 to 400"), record_lens(llama, 401):
        pass


def config(folder: Path, **discover: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": str(folder), "device": "cpu"},
            "problems": {"limit": 3},
            "prompt": {"variants": ["cot", "equation_only"], "shots": 1},
            "generate": {"max_new_tokens": 5, "part_size": 2},
            "discover": {"top_k": 3} | discover,
        }
    )


def test_a_run_stores_it_beside_the_activations(llama_folder: Path, tmp_path: Path) -> None:
    run = run_pipeline(config(llama_folder, logit_lens=2), tmp_path / "run", only="discover")
    found = open_run(run.path).lens()
    keys = ["variant", "question_id", "step", "layer"]
    assert found.columns == [*keys, "token_ids", "probabilities"]
    assert found.select(keys).equals(run.activations().select(keys))
    assert found["token_ids"].list.len().unique().to_list() == [2]
    assert found["probabilities"].list.first().is_between(0, 1).all()
    assert found.schema["token_ids"] == pl.List(pl.Int32)


def test_without_it_nothing_is_stored_and_earlier_runs_stay_done(llama_folder: Path, tmp_path: Path) -> None:
    run = run_pipeline(config(llama_folder), tmp_path / "run", only="discover")
    assert not (run.path / "lens").exists()
    with pytest.raises(InputError, match=r"has no lens; .*`cotlens discover .*run --set discover.logit_lens=5`"):
        run.lens()
    with_lens = run_pipeline(config(llama_folder, logit_lens=1), tmp_path / "run", only="discover")
    assert with_lens.manifest.stages["discover"].key != run.manifest.stages["discover"].key
    assert with_lens.activations().equals(run.activations())


def test_a_part_that_lost_its_lens_is_made_again(llama_folder: Path, tmp_path: Path) -> None:
    chosen = config(llama_folder, logit_lens=2)
    run = run_pipeline(chosen, tmp_path / "run", only="discover")
    before = run.manifest.stages["discover"].parts
    (run.path / "lens" / "cot-0001.parquet").unlink()
    after = run_pipeline(chosen, tmp_path / "run", only="discover")
    assert after.manifest.stages["discover"].parts == before
    assert (run.path / "lens" / "cot-0001.parquet").is_file()
