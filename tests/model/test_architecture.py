from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CodeGenConfig,
    GPTJConfig,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen3MoeConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from cotlens import LanguageModel
from cotlens.errors import InputError, ModelFormatError
from cotlens.model import architecture
from cotlens.model.architecture import Layout, find_layout, register_layout
from cotlens.types import NeuronId

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
SMALL_GPT = {"vocab_size": 50, "n_embd": 16, "n_inner": 24, "n_layer": 2, "n_head": 2, "rotary_dim": 8}
GPTJ = Layout("transformer.h", "mlp.fc_out", "transformer.ln_f")


def build(config: PretrainedConfig) -> nn.Module:
    return AutoModelForCausalLM.from_config(config)


def view(model: nn.Module, lm: LanguageModel) -> LanguageModel:
    return LanguageModel(model, lm.tokenizer, name="tiny")  # type: ignore[arg-type]


@pytest.fixture
def _only_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "_registered", [])


def test_value_vectors_are_a_view_not_a_copy(lm: LanguageModel) -> None:
    ffn = lm.ffn[0]
    assert ffn.value_vectors.data_ptr() == ffn.down_projection.weight.data_ptr()


def test_final_norm_gain_is_the_models_own(lm: LanguageModel) -> None:
    stored = lm.final_norm.weight.detach()
    expected = 1 + stored if "gemma" in lm.name else stored
    torch.testing.assert_close(lm.final_norm_gain, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
            ),
            "T5ForConditionalGeneration: an encoder-decoder",
        ),
        (lambda: build(MixtralConfig(**SMALL, num_local_experts=2)), "MixtralForCausalLM: mixture-of-experts"),
        (
            lambda: build(Qwen3MoeConfig(**SMALL, num_experts=2, moe_intermediate_size=8, mlp_only_layers=[0])),
            "Qwen3MoeForCausalLM: mixture-of-experts",
        ),
        (
            lambda: build(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1)),
            "MambaForCausalLM: keeps a recurrent state",
        ),
    ],
    ids=["encoder-decoder", "experts", "experts in some layers", "recurrent"],
)
def test_a_model_of_another_kind_is_refused_by_name(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        find_layout(make())


@pytest.mark.usefixtures("_only_built_in")
def test_an_unknown_architecture_gets_an_entry_to_copy(llama: LanguageModel) -> None:
    model = build(GPTJConfig(**SMALL_GPT))
    with pytest.raises(ModelFormatError, match="GPTJForCausalLM: no known layout fits") as caught:
        view(model, llama)
    message = str(caught.value)
    assert len(message.splitlines()) < 16
    example = message[message.index("    register_layout") : message.index("    lm =")]
    exec("\n".join(line[4:] for line in example.splitlines()), {"Layout": Layout, "register_layout": register_layout})
    assert architecture._registered == [GPTJ]
    assert view(model, llama).d_ff == 24


@pytest.mark.usefixtures("_only_built_in")
def test_a_registered_layout_is_tried_first_and_kept_once() -> None:
    model = build(LlamaConfig(**SMALL))
    # The gate projection is linear as well; that this entry is wrong is for the check to find.
    odd = Layout("model.layers", "mlp.gate_proj", "model.norm")
    for layout in (GPTJ, odd, odd):
        register_layout(layout)
    assert architecture._registered == [odd, GPTJ]
    assert find_layout(model) == odd


@pytest.mark.usefixtures("_only_built_in")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": "transformer.blocks"}, "the model has no list of layers at 'transformer.blocks'"),
        ({"down_projection": "mlp.act"}, "a layer has no linear module at 'mlp.act'"),
        ({"final_norm": "transformer.h.7.ln_1"}, "the model has nothing at 'transformer.h.7.ln_1'"),
        ({"post_norm": "ln_3"}, "a layer has nothing at 'ln_3'"),
    ],
)
def test_a_registered_layout_that_does_not_fit_says_why(change: dict[str, str], reason: str) -> None:
    paths = {"layers": "transformer.h", "down_projection": "mlp.fc_out", "final_norm": "transformer.ln_f"}
    register_layout(Layout(**paths | change))
    with pytest.raises(ModelFormatError, match=f"does not fit: .*{reason}"):
        find_layout(build(CodeGenConfig(**SMALL_GPT)))


@pytest.mark.usefixtures("_only_built_in")
def test_a_layout_that_names_the_wrong_module_is_found_out(llama: LanguageModel) -> None:
    register_layout(Layout("model.layers", "mlp.gate_proj", "model.norm"))
    with pytest.raises(ModelFormatError, match="tiny, layer 0: the feed-forward block"):
        view(build(LlamaConfig(**SMALL)), llama)


def test_a_block_that_scales_its_output_is_found_out(llama: LanguageModel) -> None:
    model = build(LlamaConfig(**SMALL))
    handle = model.model.layers[1].mlp.register_forward_hook(lambda _, __, output: 0.5 * output)
    with pytest.raises(ModelFormatError, match=r"tiny, layer 1: .*sum of its coefficients.*off by 1\.?0? of"):
        view(model, llama)
    handle.remove()
    view(model, llama)


def test_a_block_that_goes_round_its_projection_is_found_out(llama: LanguageModel) -> None:
    model = build(
        BloomConfig(vocab_size=50, hidden_size=16, n_layer=1, n_head=2, pretraining_tp=2, slow_but_exact=True)
    )
    with pytest.raises(ModelFormatError, match=r"layer 0: .*calls its down projection 0 times"):
        view(model, llama)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_found_when_the_model_loads(llama: LanguageModel, value: float) -> None:
    model = build(LlamaConfig(**SMALL))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = value
    with pytest.raises(ModelFormatError, match=r"layer 1: .*weights are damaged"):
        view(model, llama)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_check_bears_rounding_and_takes_no_random_number(llama: LanguageModel, dtype: torch.dtype) -> None:
    model = build(LlamaConfig(**SMALL | {"intermediate_size": 2048, "hidden_size": 512})).to(dtype)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    view(model, llama)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_without_numbers_is_viewed_unchecked(llama: LanguageModel) -> None:
    with torch.device("meta"):
        model = build(LlamaConfig(**SMALL))
    assert view(model, llama).d_ff == 24


def test_an_unembedding_of_another_width_asks_for_the_map_between(llama: LanguageModel) -> None:
    model = build(OPTConfig(**SMALL | {"ffn_dim": 24, "word_embed_proj_dim": 8}))
    with pytest.raises(ModelFormatError, match=r"reads 8 entries, and a neuron writes 16; .*output_projection"):
        view(model, llama)


def test_a_model_without_an_unembedding_is_refused(llama: LanguageModel) -> None:
    class Bare(LlamaModel):
        def __init__(self, config: LlamaConfig) -> None:
            super().__init__(config)
            self.model = LlamaModel(config)

    with pytest.raises(ModelFormatError, match="Bare has no unembedding"):
        view(Bare(LlamaConfig(**SMALL)), llama)


def test_a_long_context_phi_counts_as_far_as_its_keys_keep(llama: LanguageModel) -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    long = Phi3Config(
        **SMALL,
        max_position_embeddings=256,
        original_max_position_embeddings=64,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **factors},
    )
    assert view(build(long), llama).context_length == 64
    assert view(build(Phi3Config(**SMALL, max_position_embeddings=256)), llama).context_length == 256


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
