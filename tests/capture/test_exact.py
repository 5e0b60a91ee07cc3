import numpy as np
import pytest
import torch

from cotlens import LanguageModel
from cotlens.capture import coefficients, mean_coefficients, reference_coefficients
from cotlens.errors import InputError, NonFiniteError

IDS = [5, 6, 7, 8, 9, 200, 11, 12]
TEXTS = ["A box holds 12 pens.", "So 3 * 12 = 36.", "7"]


def all_coefficients(lm: LanguageModel, ids: list[int]) -> list[torch.Tensor]:
    """Of every position, straight from the model; per layer, [S, F]."""
    kept: list[torch.Tensor] = []
    handles = [
        ffn.down_projection.register_forward_hook(lambda _, inputs, __: kept.append(inputs[0].flatten(0, -2)))
        for ffn in lm.ffn
    ]
    with torch.no_grad():
        lm.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return kept


def test_chosen_neurons_at_every_step_in_the_order_given(any_lm: LanguageModel) -> None:
    neurons = [(2, 40), (0, 3), (2, 1), (0, 47), (2, 40)]
    found = coefficients(any_lm, IDS, 3, neurons)
    plain = all_coefficients(any_lm, IDS[:-1])
    expected = torch.stack([plain[layer][2:, neuron] for layer, neuron in neurons], dim=1)
    assert found.shape == (5, 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_only_the_layers_in_question_are_hooked(llama: LanguageModel) -> None:
    seen: list[int] = []
    original = torch.nn.Module.register_forward_pre_hook

    def counting(self: torch.nn.Module, *args: object, **kwargs: object) -> object:
        seen.append(id(self))
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "register_forward_pre_hook", counting)
        coefficients(llama, IDS, 3, [(1, 4), (1, 5)])
    assert seen == [id(llama.ffn[1].down_projection)]


def test_no_neuron_is_no_column(llama: LanguageModel) -> None:
    assert coefficients(llama, IDS, 3, []).shape == (5, 0)


def test_means_are_over_all_tokens_of_all_texts(any_lm: LanguageModel) -> None:
    found = mean_coefficients(any_lm, iter(TEXTS))
    plain = [all_coefficients(any_lm, any_lm.encode(text)) for text in TEXTS]
    assert [mean.dtype for mean in found] == [np.float32] * 3
    for layer, mean in enumerate(found):
        expected = torch.cat([text[layer] for text in plain]).mean(dim=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


def test_means_of_a_model_in_half_precision_are_summed_in_full(llama: LanguageModel, make_lm) -> None:
    half = make_lm("llama")
    half.model.bfloat16()
    found = mean_coefficients(half, ["12 pens " * 300])
    kept = all_coefficients(half, half.encode("12 pens " * 300))
    for mean, coefficient in zip(found, kept, strict=True):
        np.testing.assert_allclose(mean, coefficient.double().mean(dim=0), rtol=1e-4, atol=1e-6)


def test_the_first_tokens_of_each_text_can_be_left_out(llama: LanguageModel) -> None:
    found = mean_coefficients(llama, TEXTS, skip=2)
    plain = [all_coefficients(llama, llama.encode(text)) for text in TEXTS]
    for layer, mean in enumerate(found):
        expected = torch.cat([text[layer][2:] for text in plain]).mean(dim=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="no text has more than 99 tokens"):
        mean_coefficients(llama, TEXTS, skip=99)


def test_a_reference_holds_tokens_of_all_texts_each_once(any_lm: LanguageModel) -> None:
    plain = [all_coefficients(any_lm, any_lm.encode(text)) for text in TEXTS]
    whole = reference_coefficients(any_lm, iter(TEXTS))
    for layer, rows in enumerate(whole):
        expected = torch.cat([text[layer][1:] for text in plain])
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)
    assert [rows.dtype for rows in whole] == [np.float32] * 3


def test_fewer_tokens_are_drawn_by_seed_and_are_the_same_in_every_layer(llama: LanguageModel) -> None:
    whole = reference_coefficients(llama, TEXTS)

    def places(**given: int) -> list[list[int]]:
        some = reference_coefficients(llama, TEXTS, tokens=3, **given)
        return [
            [int(np.argmin(np.abs(all_rows - row).max(axis=1))) for row in rows]
            for all_rows, rows in zip(whole, some, strict=True)
        ]

    drawn = places(seed=1)
    assert all(layer == drawn[0] for layer in drawn)
    assert len(set(drawn[0])) == 3
    assert places(seed=1) == drawn
    assert any(places(seed=seed) != drawn for seed in range(2, 6))
    with pytest.raises(InputError, match="tokens is 0"):
        reference_coefficients(llama, TEXTS, tokens=0)


@pytest.mark.parametrize(
    ("ids", "prompt_length", "neurons", "message"),
    [
        (IDS, 3, [(3, 0)], "L3N0: layer 3 is out of range; tiny-llama has 0 to 2"),
        (IDS, 3, [(0, 48)], "L0N48: neuron 48 is out of range; layer 0 has 0 to 47"),
        (IDS, 3, [(-1, 0)], "L-1N0"),
        (IDS, 0, [(0, 0)], "at least one token"),
        (IDS, len(IDS), [(0, 0)], "at least one more must follow"),
        ([5, 400], 1, [(0, 0)], "out of range"),
    ],
)
def test_a_wrong_request_is_named(
    llama: LanguageModel, ids: list[int], prompt_length: int, neurons: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        coefficients(llama, ids, prompt_length, neurons)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no text was given"),
        (["a", ""], "text 1 is empty"),
        ("one text", "a list of texts"),
        (["1 " * 3000], "reads at most"),
    ],
)
def test_a_mean_needs_texts_that_can_be_read(llama: LanguageModel, texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_coefficients(llama, texts)


def test_values_that_are_not_finite_name_their_layer_and_leave_no_hook(make_lm) -> None:
    lm = make_lm("llama")
    with torch.no_grad():
        lm.model.model.layers[1].mlp.up_proj.weight[4] = float("inf")
    with pytest.raises(NonFiniteError, match="layer 1"):
        coefficients(lm, IDS, 3, [(0, 4), (1, 4)])
    with pytest.raises(NonFiniteError, match="layer 1"):
        mean_coefficients(lm, TEXTS)
    assert not any(module._forward_pre_hooks for module in lm.model.modules())
