import copy

import numpy as np
import pytest
import torch

from cotlens import (
    LanguageModel,
    Mean,
    Noise,
    Resample,
    Scale,
    Zero,
    generate,
    intervene,
    mean_coefficients,
    reference_coefficients,
)
from cotlens.errors import InputError

NEURONS = [(0, 3), (1, 40), (1, 7), (1, 41)]
TEXTS = ["The river turns to the south below the old mill.", "She mends shoes."]
IDS = torch.arange(1, 30)[None]


def logits(lm: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return lm.model(IDS).logits


def with_edited_weights(lm: LanguageModel, edit: object) -> torch.Tensor:
    """The same edit, made on a copy of the weights."""
    twin = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, name=lm.name)
    for ffn in twin.ffn:
        index = torch.tensor([n for layer, n in edit.neurons if layer == ffn.layer], dtype=torch.long)
        if len(index):
            weight = ffn.down_projection.weight.data
            (weight if "gpt2" in lm.name else weight.T)[index] += edit.term(lm.ffn[ffn.layer], index).change
    return logits(twin)


@pytest.mark.parametrize(
    "edit", [Noise(NEURONS, sigma=2.0, seed=3), Zero(NEURONS), Zero(NEURONS, dose=0.25), Scale(NEURONS, -3.0)]
)
def test_equals_editing_the_value_vectors(lm: LanguageModel, edit: object) -> None:
    with intervene(lm, [edit]):
        edited = logits(lm)
    torch.testing.assert_close(edited, with_edited_weights(lm, edit), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(edited, logits(lm), atol=1e-2), "the edit has an effect"


ARRAYS = [np.ones((2, 48), dtype=np.float32)] * 3


@pytest.mark.parametrize(
    "edit",
    [
        Noise(NEURONS, sigma=0.0),
        Scale(NEURONS, 1.0),
        Zero([]),
        Zero(NEURONS, dose=0.0),
        Mean(NEURONS, [array[0] for array in ARRAYS], dose=0.0),
        Resample(NEURONS, ARRAYS, dose=0.0),
    ],
)
def test_an_edit_that_changes_nothing_changes_no_bit(lm: LanguageModel, edit: object) -> None:
    plain = logits(lm)
    with intervene(lm, [edit]):
        assert logits(lm).equal(plain)


def with_coefficients(lm: LanguageModel, values: dict[tuple[int, int], float], share: float) -> torch.Tensor:
    """Logits where these neurons' coefficients are set by hooks, that share of the way from their own."""

    def hook(layer: int):
        def replace(_module: object, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            changed = args[0].clone()
            for (at, neuron), value in values.items():
                if at == layer:
                    changed[..., neuron] += share * (value - changed[..., neuron])
            return (changed,)

        return replace

    handles = [ffn.down_projection.register_forward_pre_hook(hook(ffn.layer)) for ffn in lm.ffn]
    try:
        return logits(lm)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("dose", [1.0, 0.5])
def test_mean_ablation_is_what_setting_the_coefficients_is(lm: LanguageModel, dose: float) -> None:
    means = mean_coefficients(lm, TEXTS)
    with intervene(lm, [Mean(NEURONS, means, dose)]):
        edited = logits(lm)
    expected = with_coefficients(lm, {(layer, n): float(means[layer][n]) for layer, n in NEURONS}, dose)
    torch.testing.assert_close(edited, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(edited, logits(lm), atol=1e-2), "the edit has an effect"


@pytest.mark.parametrize("dose", [1.0, 0.5])
def test_resampling_takes_all_neurons_from_one_token_of_the_reference(lm: LanguageModel, dose: float) -> None:
    reference = reference_coefficients(lm, TEXTS)
    by_token = [
        with_coefficients(lm, {(layer, n): float(reference[layer][token, n]) for layer, n in NEURONS}, dose)
        for token in range(len(reference[0]))
    ]
    drawn = set()
    for seed in range(6):
        with intervene(lm, [Resample(NEURONS, reference, seed, dose)]):
            edited = logits(lm)
        same = [token for token, found in enumerate(by_token) if torch.allclose(edited, found, rtol=1e-3, atol=1e-3)]
        assert len(same) == 1
        drawn |= set(same)
    assert len(drawn) > 2, "another seed draws another token"


def test_several_edits_of_one_layer_add_up(llama: LanguageModel) -> None:
    means = mean_coefficients(llama, TEXTS)
    with intervene(llama, [Mean(NEURONS, means)]):
        together = logits(llama)
    with intervene(llama, [Mean(NEURONS[:3], means), Mean(NEURONS[3:], means)]):
        torch.testing.assert_close(logits(llama), together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", [ARRAYS[:1], [array[:, :9] for array in ARRAYS], [array[:0] for array in ARRAYS]])
def test_a_reference_of_another_model_is_named(llama: LanguageModel, wrong: list[np.ndarray]) -> None:
    with (
        pytest.raises(InputError, match=r"reference: layer [01] has 48 neurons"),
        intervene(llama, [Resample(NEURONS, wrong)]),
    ):
        pass


def test_each_prompt_has_its_own_mean(llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    means = mean_coefficients(llama, TEXTS)
    conditions = [(), (Mean(NEURONS, means),), (Mean(NEURONS[1:], means), Zero([(0, 3)])), ()]
    separate = []
    for prompt, edits in zip(prompts, conditions, strict=True):
        with intervene(llama, edits):
            separate += generate(llama, [prompt], 12, ())
    assert generate(llama, prompts, 12, (), batch_size=4, interventions=conditions) == separate


def test_weights_and_forward_are_as_before_even_after_an_error(lm: LanguageModel) -> None:
    plain = logits(lm)
    weights = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}

    def fail() -> None:
        with intervene(lm, [Noise(NEURONS, sigma=5.0), Zero([(2, 2)])]):
            logits(lm)
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fail()
    assert all(tensor.equal(weights[name]) for name, tensor in lm.model.state_dict().items())
    assert all(not ffn.down_projection._forward_hooks for ffn in lm.ffn)
    assert logits(lm).equal(plain)


def test_scale_zero_is_zero(lm: LanguageModel) -> None:
    with intervene(lm, [Zero(NEURONS)]):
        zeroed = logits(lm)
    with intervene(lm, [Scale(NEURONS, 0.0)]):
        torch.testing.assert_close(logits(lm), zeroed)


def test_noise_has_mean_zero_and_the_stated_size_for_each_neuron(smollm2: LanguageModel) -> None:
    ffn = smollm2.ffn[20]
    index = torch.arange(60)
    change = Noise([(20, n) for n in range(60)], sigma=0.5).term(ffn, index).change
    rms = ffn.value_vectors[index].square().mean(dim=1).sqrt()
    relative = (change / rms[:, None]).numpy()
    assert abs(relative.mean()) < 0.01
    np.testing.assert_allclose(relative.std(axis=1), 0.5, atol=0.06)
    correlation = np.corrcoef(relative)
    assert np.abs(correlation - np.eye(60)).max() < 0.2, "each neuron has its own noise"


def test_noise_depends_on_seed_and_neuron_and_not_on_the_set(llama: LanguageModel) -> None:
    ffn = llama.ffn[1]
    one = Noise([(1, 7)], seed=1).term(ffn, torch.tensor([7])).change
    among = Noise([(1, 3), (1, 7)], seed=1).term(ffn, torch.tensor([3, 7])).change
    other_seed = Noise([(1, 7)], seed=2).term(ffn, torch.tensor([7])).change
    assert one[0].equal(among[1])
    assert not one.equal(other_seed)


def test_a_set_and_its_complement_add_up_to_the_whole_layer(llama: LanguageModel) -> None:
    whole = [(1, n) for n in range(48)]
    with intervene(llama, [Noise(whole, sigma=1.0)]):
        together = logits(llama)
    with intervene(llama, [Noise(whole[:20], sigma=1.0), Noise(whole[20:], sigma=1.0)]):
        torch.testing.assert_close(logits(llama), together, rtol=1e-4, atol=1e-4)


def test_layers_before_the_edited_one_are_untouched(llama: LanguageModel) -> None:
    def inputs() -> list[torch.Tensor]:
        kept: list[torch.Tensor] = []
        handles = [
            ffn.down_projection.register_forward_pre_hook(lambda _m, args: kept.append(args[0].clone()))
            for ffn in llama.ffn
        ]
        logits(llama)
        for handle in handles:
            handle.remove()
        return kept

    plain = inputs()
    with intervene(llama, [Noise([(1, 0), (1, 1)], sigma=3.0)]):
        edited = inputs()
    assert plain[0].equal(edited[0])
    assert plain[1].equal(edited[1])
    assert not plain[2].equal(edited[2])


@pytest.mark.parametrize(
    ("neurons", "message"), [([(7, 0)], "L7N0: layer 7"), ([(0, 99)], "L0N99: neuron 99"), ([(0, 1)] * 2, "twice")]
)
def test_a_wrong_neuron_is_named(llama: LanguageModel, neurons: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(InputError, match=message), intervene(llama, [Zero(neurons)]):
        pass
