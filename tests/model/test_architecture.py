import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, T5Config, T5ForConditionalGeneration

from cotlens import LanguageModel
from cotlens.errors import InputError, ModelFormatError
from cotlens.model.architecture import find_layout
from cotlens.types import NeuronId


def test_coefficients_times_value_vectors_is_what_the_down_projection_writes(lm: LanguageModel) -> None:
    for ffn in lm.ffn:
        coefficients = torch.randn(5, ffn.width)
        bias = getattr(ffn.down_projection, "bias", None)
        expected = coefficients @ ffn.value_vectors + (0 if bias is None else bias.detach())
        torch.testing.assert_close(ffn.down_projection(coefficients).detach(), expected)


def test_every_layer_has_its_width_and_model_dimension(lm: LanguageModel) -> None:
    assert [ffn.layer for ffn in lm.ffn] == [0, 1, 2]
    assert {tuple(ffn.value_vectors.shape) for ffn in lm.ffn} == {(48, 32)}
    assert (lm.n_layers, lm.d_ff, lm.d_model) == (3, 48, 32)


def test_value_vectors_are_a_view_not_a_copy(lm: LanguageModel) -> None:
    ffn = lm.ffn[0]
    assert ffn.value_vectors.data_ptr() == ffn.down_projection.weight.data_ptr()


def test_final_norm_gain_is_the_models_own(lm: LanguageModel) -> None:
    decoder = lm.model.base_model
    norm = decoder.ln_f if hasattr(decoder, "ln_f") else decoder.norm
    stored = norm.weight.detach()
    expected = 1 + stored if "gemma" in lm.name else stored
    torch.testing.assert_close(lm.final_norm_gain, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
        ),
        lambda: AutoModelForCausalLM.from_config(
            MixtralConfig(
                vocab_size=50,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                num_local_experts=2,
            )
        ),
    ],
    ids=["encoder-decoder", "mixture of experts"],
)
def test_an_unknown_architecture_is_named_with_what_to_do(model) -> None:
    built = model()
    with pytest.raises(ModelFormatError, match=rf"{type(built).__name__}.*Layout"):
        find_layout(built)


@pytest.mark.parametrize(("neuron", "message"), [((3, 0), "layer 3 is out of range"), ((0, 48), "neuron 48 is out")])
def test_a_neuron_out_of_range_is_refused(lm: LanguageModel, neuron: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lm.check_neuron(NeuronId(*neuron))


def test_token_text_beyond_the_tokenizer_reads_as_its_id(llama: LanguageModel) -> None:
    assert llama.token_text(399) == llama.tokenizer.decode([399])
    assert llama.token_text(5000) == "<5000>"


def test_encode_and_decode_give_the_text_back(llama: LanguageModel) -> None:
    text = "The answer is 3 + 4 = 7.\n\nQuestion: naïve 🙂"
    assert llama.decode(llama.encode(text)) == text
