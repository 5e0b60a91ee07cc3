import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.conftest import MULTIPLIERS
from torch import Tensor, nn

from cotlens import LanguageModel, top_neurons
from cotlens.capture.gradients import step_gradients
from cotlens.model.shared_prefix import compute_prefix

IDS = torch.randint(1, 390, (40,), generator=torch.Generator().manual_seed(9)).tolist()
PROMPT = 31  # longer than the sliding windows of the test models


def one_backward_per_step(lm: LanguageModel) -> list[Tensor]:
    """From the definition: the plain forward pass, and for each step the gradient at the position that predicts it."""
    kept: list[Tensor] = []
    handles = [
        ffn.down_projection.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0])) for ffn in lm.ffn
    ]
    with torch.enable_grad():
        hidden = lm.model.base_model(torch.tensor([IDS[:-1]])).last_hidden_state
        logits = lm.model.get_output_embeddings()(hidden)[0]
    for handle in handles:
        handle.remove()
    layers: list[list[Tensor]] = [[] for _ in lm.ffn]
    for place in range(PROMPT - 1, len(IDS) - 1):
        gradients = torch.autograd.grad(logits[place, IDS[place + 1]], kept, retain_graph=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            layer.append(gradient.flatten(0, -2)[place])
    return [torch.stack(layer) for layer in layers]


@pytest.mark.parametrize("shared", [0, 20, 30])
def test_equals_one_backward_pass_per_step(any_lm: LanguageModel, shared: int) -> None:
    found = step_gradients(any_lm, compute_prefix(any_lm, IDS[:shared]), IDS, PROMPT)
    for layer, expected in zip(found, one_backward_per_step(any_lm), strict=True):
        torch.testing.assert_close(layer.gradient, expected, rtol=1e-3, atol=1e-4)


def test_equals_finite_differences(lm: LanguageModel) -> None:
    exact = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, name=lm.name)
    exact.model.double()
    found = step_gradients(lm, compute_prefix(lm, []), IDS, PROMPT)
    head = exact.model.get_output_embeddings()
    for layer, neuron, step in [(0, 3, 0), (0, 40, 5), (1, 7, 2), (1, 17, 8), (2, 30, 4)]:
        place = PROMPT - 1 + step

        def logit_with(change: float, layer: int = layer, neuron: int = neuron, place: int = place) -> float:
            def move(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
                moved = inputs[0].clone()
                moved[0, place, neuron] += change
                return (moved,)

            handle = exact.ffn[layer].down_projection.register_forward_pre_hook(move)
            with torch.no_grad():
                hidden = exact.model.base_model(torch.tensor([IDS[:-1]])).last_hidden_state
                logit = head(hidden)[0, place, IDS[place + 1]].item()
            handle.remove()
            return logit

        # RMS norms compute in fp32 whatever the model's precision, so the step can't be small.
        slope = (logit_with(3e-3) - logit_with(-3e-3)) / 6e-3
        np.testing.assert_allclose(found[layer].gradient[step, neuron], slope, rtol=5e-3, atol=1e-3)


def test_the_score_is_coefficient_times_gradient(lm: LanguageModel) -> None:
    layers = step_gradients(lm, compute_prefix(lm, []), IDS, PROMPT)
    found = top_neurons(lm, IDS, PROMPT, 6, "grad")
    for layer, (coefficient, gradient) in enumerate(layers):
        best = (coefficient * gradient).topk(6, dim=1)
        np.testing.assert_allclose(found.score[:, layer], best.values, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.coefficient[:, layer], coefficient.gather(1, best.indices), rtol=1e-3)


def test_in_the_last_layer_of_a_frozen_norm_it_is_nearly_the_direct_part(llama: LanguageModel) -> None:
    """Nothing follows the last layer but the final norm, so the two differ by what the norm's scale does."""
    grad = top_neurons(llama, IDS, PROMPT, 48, "grad")
    dla = top_neurons(llama, IDS, PROMPT, 48, "dla")
    for step in range(grad.steps):
        order = np.argsort(grad.neuron[step, 2]), np.argsort(dla.neuron[step, 2])
        correlation = np.corrcoef(grad.score[step, 2][order[0]], dla.score[step, 2][order[1]])[0, 1]
        assert correlation > 0.6


def test_frozen_weights_change_nothing(llama: LanguageModel) -> None:
    frozen = LanguageModel(copy.deepcopy(llama.model).requires_grad_(False), llama.tokenizer)
    expected = top_neurons(llama, IDS, PROMPT, 6, "grad")
    found = top_neurons(frozen, IDS, PROMPT, 6, "grad")
    np.testing.assert_array_equal(found.neuron, expected.neuron)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(MULTIPLIERS))
def test_the_logit_is_the_models_own_where_it_is_multiplied(name: str, make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm(name.removeprefix("tiny-"))
    kept: list[Tensor] = []
    handle = lm.ffn[1].down_projection.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    with torch.enable_grad():
        logit = lm.model(torch.tensor([IDS[:PROMPT]])).logits[0, -1, IDS[PROMPT]]
    handle.remove()
    [gradient] = torch.autograd.grad(logit, kept)
    score = (kept[0] * gradient)[0, -1].detach()
    found = top_neurons(lm, IDS[: PROMPT + 1], PROMPT, 48, "grad")
    np.testing.assert_allclose(found.score[0, 1], score[found.neuron[0, 1].tolist()], rtol=1e-3, atol=1e-5)
