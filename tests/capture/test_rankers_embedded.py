"""The rankers on the embedded model, against its own forward and backward pass."""

import numpy as np
import pytest
import torch

from cotlens import LanguageModel, top_neurons
from cotlens.agreement import ranker_agreement
from cotlens.capture import RANKERS, coefficients

pytestmark = pytest.mark.embedded

TEXT = "Question: A box holds 12 pens. How many pens do 3 boxes hold?\nSo 3 * 12 = 36"
LAYERS = (3, 17, 29)


@pytest.fixture(scope="module")
def ids(smollm2: LanguageModel) -> list[int]:
    return smollm2.encode(TEXT)


@pytest.fixture(scope="module")
def streams(smollm2: LanguageModel, ids: list[int]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """At the last step, what goes into each block's norm, and the coefficients; for -1, into the final norm."""
    found: dict[int, list[torch.Tensor]] = {layer: [] for layer in (*LAYERS, -1)}
    decoder = smollm2.model.model
    modules = {
        -1: [decoder.norm],
        **{la: [decoder.layers[la].post_attention_layernorm, decoder.layers[la].mlp.down_proj] for la in LAYERS},
    }
    handles = [
        module.register_forward_hook(lambda _, inputs, __, layer=layer: found[layer].append(inputs[0][0, -1]))
        for layer, both in modules.items()
        for module in both
    ]
    with torch.no_grad():
        smollm2.model(torch.tensor([ids[:-1]]))
    for handle in handles:
        handle.remove()
    return {layer: tuple(values) for layer, values in found.items()}


def test_dla_is_the_part_in_the_logit(smollm2: LanguageModel, ids: list[int], streams) -> None:
    found = top_neurons(smollm2, ids, len(ids) - 1, 20, "dla")
    norm = smollm2.model.model.norm
    scale = torch.rsqrt(streams[-1][0].square().mean() + norm.variance_epsilon)
    row = smollm2.model.lm_head.weight[ids[-1]] * norm.weight * scale
    for layer in LAYERS:
        parts = streams[layer][1] * (smollm2.model.model.layers[layer].mlp.down_proj.weight.T @ row)
        np.testing.assert_allclose(found.score[0, layer], parts.detach().topk(20).values, rtol=1e-3, atol=1e-5)


def test_logprob_is_the_best_of_all_neurons(smollm2: LanguageModel, ids: list[int], streams) -> None:
    found = top_neurons(smollm2, ids, len(ids) - 1, 20, "logprob")
    decoder = smollm2.model.model
    for layer in LAYERS:
        before, m = streams[layer]
        moved = before + m[:, None] * decoder.layers[layer].mlp.down_proj.weight.T
        with torch.no_grad():
            after = [smollm2.model.lm_head(decoder.norm(part)).log_softmax(-1)[:, ids[-1]] for part in moved.split(64)]
            base = smollm2.model.lm_head(decoder.norm(before)).log_softmax(-1)[ids[-1]]
        best = (torch.cat(after) - base).topk(20)
        np.testing.assert_allclose(found.score[0, layer], best.values, rtol=1e-3, atol=1e-4)


def test_grad_is_coefficient_times_gradient(smollm2: LanguageModel, ids: list[int]) -> None:
    found = top_neurons(smollm2, ids, len(ids) - 1, 20, "grad")
    kept: list[torch.Tensor] = []
    handles = [
        ffn.down_projection.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0])) for ffn in smollm2.ffn
    ]
    logit = smollm2.model(torch.tensor([ids[:-1]])).logits[0, -1, ids[-1]]
    for handle in handles:
        handle.remove()
    for layer, gradient in enumerate(torch.autograd.grad(logit, kept)):
        scores = (kept[layer] * gradient)[0, -1].detach()
        np.testing.assert_allclose(found.score[0, layer], scores.topk(20).values, rtol=2e-3, atol=1e-4)


def test_chosen_coefficients_are_those_of_the_top_k(smollm2: LanguageModel, ids: list[int]) -> None:
    found = top_neurons(smollm2, ids, 20, 3)
    neurons = [(layer, int(found.neuron[0, layer, 0])) for layer in range(30)]
    exact = coefficients(smollm2, ids, 20, neurons)
    np.testing.assert_allclose(exact[0], found.coefficient[0, :, 0], rtol=1e-4, atol=1e-5)


def test_rankers_agree_where_they_should(smollm2: LanguageModel, ids: list[int]) -> None:
    cheap = [name for name in RANKERS if name != "logprob"]
    found = ranker_agreement(smollm2, ids, len(ids) - 8, 20, cheap)
    assert found.height == 6 * 30
    same_order = found.filter(first="norm", second="signed")["spearman"]
    assert same_order.to_numpy() == pytest.approx(1), "lengths in the same order, where both keep a neuron"
    overlap = found.filter(first="dla", second="grad").sort("layer")["jaccard"]
    # Little lies between the last layer and the logits, and much between the first and them.
    assert overlap[-1] > 0.4
    assert overlap[-1] > 2 * overlap[:10].mean()
