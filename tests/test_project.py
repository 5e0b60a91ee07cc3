import inspect

import numpy as np
import pytest
import torch

from cotlens import LanguageModel, project
from cotlens.errors import InputError


def naive_logits(lm: LanguageModel, layer: int, neuron: int) -> np.ndarray:
    weight = lm.ffn[layer].down_projection.weight.detach()
    vector = weight[neuron] if "gpt2" in lm.name else weight[:, neuron]
    return (lm.model.get_output_embeddings().weight.detach().double() @ vector.double()).numpy()


def test_equals_the_unembedding_times_the_value_vector(lm: LanguageModel) -> None:
    neurons = [(2, 47), (0, 0), (1, 13)]
    found = project(lm, neurons, top_n=6)
    for row, (layer, neuron) in enumerate(neurons):
        logits = naive_logits(lm, layer, neuron)
        order = np.argsort(-logits, kind="stable")
        np.testing.assert_array_equal(found.promoted_ids[row], order[:6])
        np.testing.assert_array_equal(found.suppressed_ids[row], order[::-1][:6])
        np.testing.assert_allclose(found.promoted_logits[row], logits[order[:6]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.suppressed_logits[row], logits[order[::-1][:6]], rtol=1e-4, atol=1e-5)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found.promoted_probs[row], probabilities[order[:6]], rtol=1e-4)


def test_rows_follow_the_order_given_with_the_promised_types(lm: LanguageModel) -> None:
    found = project(lm, [(2, 1), (0, 5)], top_n=3)
    assert found.layer.tolist() == [2, 0]
    assert found.neuron.tolist() == [1, 5]
    assert found.promoted_ids.dtype == found.suppressed_ids.dtype == found.layer.dtype == np.int32
    assert found.promoted_logits.dtype == found.promoted_probs.dtype == np.float32
    assert found.norm == "none"


def test_gamma_folds_the_final_norms_gain_in(lm: LanguageModel) -> None:
    found = project(lm, [(1, 3)], top_n=4, norm="gamma")
    vector = lm.ffn[1].value_vectors[3] * lm.final_norm_gain
    logits = (lm.unembedding @ vector).numpy()
    np.testing.assert_allclose(found.promoted_logits[0], np.sort(logits)[::-1][:4], rtol=1e-3, atol=1e-4)
    assert found.norm == "gamma"


def test_no_neurons_named_means_all_of_them(llama: LanguageModel) -> None:
    found = project(llama, top_n=2)
    assert len(found.layer) == 3 * 48
    one = project(llama, [(2, 47)], top_n=2)
    np.testing.assert_array_equal(found.promoted_ids[-1], one.promoted_ids[0])


def test_an_empty_list_gives_no_rows(llama: LanguageModel) -> None:
    assert project(llama, [], top_n=2).promoted_ids.shape == (0, 2)


def test_half_precision_weights_give_fp32_logits(llama: LanguageModel) -> None:
    half = LanguageModel(type(llama.model)(llama.model.config).to(torch.bfloat16), llama.tokenizer, name="half")
    found = project(half, [(0, 1)], top_n=3)
    expected = half.unembedding.float() @ half.ffn[0].value_vectors[1].float()
    np.testing.assert_allclose(found.promoted_logits[0], expected.topk(3).values.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": [(9, 0)]}, "L9N0: layer 9 is out of range"),
        ({"neurons": [(0, 48)]}, "neuron 48 is out of range"),
        ({"neurons": [(0, 0)], "top_n": 0}, "top_n is 0"),
        ({"neurons": [(0, 0)], "top_n": 401}, "top_n is 401"),
    ],
)
def test_bad_input_is_named(llama: LanguageModel, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        project(llama, **options)  # type: ignore[arg-type]


def test_an_unknown_norm_is_named(llama: LanguageModel) -> None:
    unchecked = inspect.unwrap(project)  # without the run-time type check that only tests have
    with pytest.raises(InputError, match="norm is 'beta'"):
        unchecked(llama, neurons=[(0, 0)], norm="beta")
