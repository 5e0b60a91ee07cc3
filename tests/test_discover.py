import numpy as np
import pytest
import torch

from cotlens import LanguageModel, top_neurons
from cotlens.errors import InputError
from cotlens.types import TopNeurons


def recompute(lm: LanguageModel, ids: list[int], prompt_length: int, k: int) -> TopNeurons:
    """Straight from the definition: keep every coefficient of a plain forward, score each, sort each."""
    kept: list[torch.Tensor] = []
    handles = [
        ffn.down_projection.register_forward_hook(lambda _m, inputs, _o: kept.append(inputs[0][0].detach().clone()))
        for ffn in lm.ffn
    ]
    with torch.inference_mode():
        lm.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    steps = len(ids) - prompt_length
    shape = (steps, lm.n_layers, k)
    neuron, coefficient, score = np.zeros(shape, np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for step in range(steps):
        for layer, ffn in enumerate(lm.ffn):
            m = kept[layer][prompt_length - 1 + step]
            scores = [abs(float(m[i])) * float(ffn.value_vectors[i].norm()) for i in range(ffn.width)]
            best = sorted(range(ffn.width), key=lambda i: (-scores[i], i))[:k]
            neuron[step, layer] = best
            coefficient[step, layer] = m[best].numpy()
            score[step, layer] = [scores[i] for i in best]
    return TopNeurons(neuron, coefficient, score)


@pytest.mark.parametrize("prompt_length", [1, 9])
def test_equals_a_recomputation_from_the_definition(lm: LanguageModel, prompt_length: int) -> None:
    ids = lm.encode("Question: A box holds 12 pens. So 3 boxes hold 3 * 12 = 36 pens.")
    found = top_neurons(lm, ids, prompt_length, top_k=6)
    expected = recompute(lm, ids, prompt_length, 6)
    assert found.steps == len(ids) - prompt_length
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-4)
    np.testing.assert_array_equal(found.neuron, expected.neuron)
    np.testing.assert_allclose(found.coefficient, expected.coefficient, rtol=1e-4, atol=1e-6)


def test_arrays_have_the_promised_types_and_order(llama: LanguageModel) -> None:
    found = top_neurons(llama, list(range(1, 12)), prompt_length=4, top_k=5)
    assert found.neuron.shape == found.coefficient.shape == found.score.shape == (7, 3, 5)
    assert (found.neuron.dtype, found.coefficient.dtype, found.score.dtype) == (np.int32, np.float32, np.float32)
    assert (np.diff(found.score, axis=2) <= 0).all()
    assert (found.coefficient < 0).any(), "coefficients are signed"


def test_a_later_token_changes_no_earlier_step(llama: LanguageModel) -> None:
    short = top_neurons(llama, [5, 6, 7, 8], prompt_length=2, top_k=5)
    long = top_neurons(llama, [5, 6, 7, 8, 9, 10], prompt_length=2, top_k=5)
    np.testing.assert_array_equal(short.neuron, long.neuron[:2])


def test_one_token_after_a_prompt_of_one_is_one_step(llama: LanguageModel) -> None:
    assert top_neurons(llama, [5, 6], prompt_length=1).steps == 1


@pytest.mark.parametrize(
    ("ids", "prompt_length", "message"),
    [
        ([5], 1, "at least one more must follow"),
        ([5, 6], 2, "at least one more must follow"),
        ([5, 6], 0, "at least one token"),
        ([5, 400], 1, "out of range"),
        ([5, -1], 1, "out of range"),
    ],
)
def test_bad_token_ids_are_named(llama: LanguageModel, ids: list[int], prompt_length: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        top_neurons(llama, ids, prompt_length)
