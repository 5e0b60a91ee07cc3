"""The embedded model against independent computations on the plain Hugging Face forward."""

import numpy as np
import pytest
import torch

from cotlens import LanguageModel, build_prompt, generate, load_problems, project, top_neurons

pytestmark = pytest.mark.embedded

TEXT = "Question: A box holds 12 pens. How many pens do 3 boxes hold?\nSo 3 * 12 = 36 pens.\nThe answer is 36."


def coefficients(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    """Inputs of every down projection, found by the names that Llama's implementation gives them. [L, S, F]"""
    kept = []
    handles = [
        layer.mlp.down_proj.register_forward_hook(lambda _m, inputs, _o: kept.append(inputs[0][0]))
        for layer in lm.model.model.layers
    ]
    with torch.inference_mode():
        lm.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.stack(kept)


def test_top_neurons_equal_a_recomputation_at_every_layer_and_step(smollm2: LanguageModel) -> None:
    ids, prompt_length = smollm2.encode(TEXT), 12
    found = top_neurons(smollm2, ids, prompt_length, top_k=20)
    m = coefficients(smollm2, ids)[:, prompt_length - 1 : -1].transpose(0, 1)  # [T, L, F]
    norms = torch.stack([layer.mlp.down_proj.weight.norm(dim=0) for layer in smollm2.model.model.layers])
    scores = (m.abs() * norms).detach()
    best = scores.sort(dim=-1, descending=True, stable=True)
    assert found.neuron.shape == (len(ids) - prompt_length, 30, 20)
    np.testing.assert_allclose(found.score, best.values[..., :20], rtol=1e-4)
    own = torch.from_numpy(found.neuron).long()
    np.testing.assert_allclose(found.score, scores.gather(2, own), rtol=1e-4)
    np.testing.assert_allclose(found.coefficient, m.gather(2, own), rtol=1e-4, atol=1e-5)
    assert (own == best.indices[..., :20]).float().mean() > 0.999  # near-ties may change places by rounding


def test_projection_equals_the_product_computed_naively(smollm2: LanguageModel) -> None:
    neurons = [(0, 0), (12, 345), (20, 100), (29, 1535)]
    found = project(smollm2, neurons, top_n=20)
    head = smollm2.model.lm_head.weight.detach()
    for row, (layer, neuron) in enumerate(neurons):
        logits = head @ smollm2.model.model.layers[layer].mlp.down_proj.weight[:, neuron].detach()
        np.testing.assert_allclose(found.promoted_logits[row], logits.topk(20).values, rtol=1e-4)
        np.testing.assert_allclose(found.suppressed_logits[row], -(-logits).topk(20).values, rtol=1e-4)
        assert found.promoted_ids[row, 0] == logits.argmax()
        assert found.suppressed_ids[row, 0] == logits.argmin()


def test_generated_text_is_that_of_each_prompt_alone(smollm2: LanguageModel) -> None:
    prompts = [build_prompt("cot", problem.question, shots=2) for problem in load_problems("mini", 6)]
    for prompt, done in zip(prompts, generate(smollm2, prompts, max_new_tokens=24), strict=True):
        ids = torch.tensor([smollm2.encode(prompt)])
        alone = smollm2.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, pad_token_id=0
        )[0, ids.shape[1] :]
        assert smollm2.decode(alone.tolist()).startswith(done.text)
        assert len(done.token_ids) > 3


def test_logits_are_bit_identical_with_hooks(smollm2: LanguageModel) -> None:
    from cotlens.capture import capture_top_neurons

    ids = torch.tensor([smollm2.encode(TEXT)])
    with torch.inference_mode():
        plain = smollm2.model(ids).logits
        with capture_top_neurons(smollm2, 20) as recorder:
            recorder.positions = torch.arange(ids.shape[1])
            assert smollm2.model(ids).logits.equal(plain)


def test_a_neuron_that_writes_equals_signs_is_seen_as_such(smollm2: LanguageModel) -> None:
    found = project(smollm2, [(26, 754)], top_n=10)
    assert sum("=" in smollm2.token_text(int(i)) for i in found.promoted_ids[0]) == 10
