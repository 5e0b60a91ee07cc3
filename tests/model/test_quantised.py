"""Weights made dense: each way of storing one stands here as a small module of the same make."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from cotlens import LanguageModel, top_neurons
from cotlens.errors import ModelFormatError
from cotlens.model.quantised import dense_weight, is_projection, projection_shape

D, F = 6, 10
WEIGHT = torch.randn(D, F, generator=torch.Generator().manual_seed(0))


class Rows(nn.Module):
    """Eight-bit numbers and a scale per row, with a method that gives the weight."""

    def __init__(self, method: str, transposed: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = F, D
        self.scale = WEIGHT.abs().amax(1, keepdim=True) / 127
        self.stored = (WEIGHT / self.scale).round().to(torch.int8)
        self.calls = 0
        setattr(self, method, lambda: self.dense().T if transposed else self.dense())

    def dense(self) -> Tensor:
        self.calls += 1
        return self.stored.float() * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.stored.float() * self.scale).T


class Codes(Tensor):
    """A weight that is a tensor of its own kind, as torchao's are."""

    def dequantize(self) -> Tensor:
        return WEIGHT


class Params4bit(nn.Parameter):
    """Stands for the packed weight of bitsandbytes."""

    quant_state = None


class Linear4bit(nn.Linear):
    """As that of bitsandbytes on a CPU with AVX512-BF16: the first forward pass packs the weight anew, in place."""

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__(dense.in_features, dense.out_features, bias=False)
        self.weight = Params4bit(dense.weight.detach().clone(), requires_grad=False)
        self.weight.quant_state = SimpleNamespace(packing_format_for_cpu=False)
        self.support_avx512bf16_for_cpu = True

    def forward(self, x: Tensor) -> Tensor:
        state = self.weight.quant_state
        if self.support_avx512bf16_for_cpu and not state.packing_format_for_cpu:
            self.weight.data, state.packing_format_for_cpu = self.weight.data.flip(1), True
        return nn.functional.linear(x, self.weight.flip(1) if state.packing_format_for_cpu else self.weight)


@pytest.fixture
def in_four_bits(
    make_lm: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> tuple[nn.Module, list[Tensor]]:
    """A Llama with such modules, and the value vectors of its layers."""
    integration = ModuleType("transformers.integrations.bitsandbytes")
    integration.dequantize_bnb_weight = lambda weight, state: weight.data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, integration.__name__, integration)
    lm = make_lm("llama")
    vectors = [ffn.value_vectors.clone() for ffn in lm.ffn]
    for layer in lm.model.model.layers:
        layer.mlp.down_proj = Linear4bit(layer.mlp.down_proj)
    return lm.model, vectors


def test_a_plain_weight_is_a_view() -> None:
    linear = nn.Linear(F, D, dtype=torch.bfloat16)
    assert dense_weight(linear).data_ptr() == linear.weight.data_ptr()
    assert dense_weight(linear).equal(linear.weight)
    assert not dense_weight(linear).requires_grad


def test_the_transpose_that_gpt2_stores_is_turned() -> None:
    conv = Conv1D(D, F)
    assert dense_weight(conv).equal(conv.weight.T)
    assert dense_weight(conv).data_ptr() == conv.weight.data_ptr()
    assert projection_shape(conv) == (D, F)


@pytest.mark.parametrize(("method", "transposed"), [("dequantize", False), ("dequantize_weight", True)])
def test_a_quantised_module_gives_its_weight_by_its_own_method(method: str, transposed: bool) -> None:
    module = Rows(method, transposed)
    assert is_projection(module)
    assert projection_shape(module) == (D, F)
    assert module.calls == 0
    dense = dense_weight(module)
    torch.testing.assert_close(dense, WEIGHT, rtol=0, atol=float(module.scale.max()))
    torch.testing.assert_close(torch.eye(F) @ dense.T, module(torch.eye(F)))
    dense_weight(module)
    assert module.calls == 2  # nothing is kept


def test_a_weight_of_its_own_kind_is_asked() -> None:
    linear = nn.Linear(F, D, bias=False)
    linear.weight = nn.Parameter(torch.zeros(D, F).as_subclass(Codes), requires_grad=False)
    assert dense_weight(linear).equal(WEIGHT)


def test_bitsandbytes_weights_are_unpacked_by_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    integration = ModuleType("transformers.integrations.bitsandbytes")
    integration.dequantize_bnb_weight = lambda weight, state: WEIGHT  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, integration.__name__, integration)
    linear = nn.Linear(F, D)
    linear.weight = Params4bit(torch.zeros(D * F // 2, 1, dtype=torch.uint8), requires_grad=False)
    assert dense_weight(linear).equal(WEIGHT)


def packed() -> nn.Module:
    linear = nn.Linear(F, D)
    linear.weight = nn.Parameter(torch.zeros(D, F, dtype=torch.int8), requires_grad=False)
    return linear


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (packed, "Linear: its weight is quantised in a way that is not known"),
        (lambda: nn.LayerNorm(F), "LayerNorm: its weight is quantised in a way"),
        (lambda: Rows("dequantize", transposed=True), r"Rows: gave a weight \[10, 6\] .* expected .*\[6, 10\]"),
    ],
)
def test_what_is_not_known_is_refused(make, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        dense_weight(make())


def test_what_is_no_projection_is_told() -> None:
    assert is_projection(nn.Linear(F, D))
    assert is_projection(Conv1D(D, F))
    assert not is_projection(nn.LayerNorm(F))
    with pytest.raises(ModelFormatError, match="does not state its sizes"):
        projection_shape(nn.LayerNorm(F))


def test_a_forward_pass_leaves_four_bits_as_they_were_loaded(
    in_four_bits: tuple[nn.Module, list[Tensor]], llama: LanguageModel
) -> None:
    model, vectors = in_four_bits
    lm = LanguageModel(model, llama.tokenizer)  # type: ignore[arg-type]
    expected = llama.model(torch.tensor([[5, 6, 7]])).logits
    for _ in range(2):
        assert all(ffn.value_vectors.equal(own) for ffn, own in zip(lm.ffn, vectors, strict=True))
        torch.testing.assert_close(lm.model(torch.tensor([[5, 6, 7]])).logits, expected)


def test_four_bits_that_were_packed_anew_are_refused(
    in_four_bits: tuple[nn.Module, list[Tensor]], llama: LanguageModel
) -> None:
    model, _ = in_four_bits
    model(torch.tensor([[5, 6, 7]]))
    with pytest.raises(ModelFormatError, match=r"has packed its 4-bit weight in a form .* load the model again"):
        LanguageModel(model, llama.tokenizer)  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_weight_that_changes_when_it_is_used_is_found_out(
    make_lm: Callable[[str], LanguageModel], layer: int
) -> None:
    class Restless(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            self.weight.data = self.weight.data.flip(1)
            return out

    lm = make_lm("llama")
    mlp = lm.model.model.layers[layer].mlp
    restless = Restless(48, 32, bias=False)
    restless.load_state_dict(mlp.down_proj.state_dict())
    mlp.down_proj = restless
    with pytest.raises(ModelFormatError, match=f"layer {layer}: .* does not return the sum"):
        LanguageModel(lm.model, lm.tokenizer)


@pytest.mark.filterwarnings("ignore")  # those of bitsandbytes
@pytest.mark.parametrize("quantised", [{"load_in_4bit": True}, {"load_in_8bit": True}], ids=["4-bit", "8-bit"])
def test_bitsandbytes_itself(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, quantised: dict[str, bool]) -> None:
    pytest.importorskip("bitsandbytes")
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4}
    plain = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=400, **sizes))
    plain.save_pretrained(tmp_path)
    wanted = BitsAndBytesConfig(**quantised, bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=wanted, device_map="cpu", dtype=torch.float32
    )
    lm = LanguageModel(model, tokenizer)
    coefficients = torch.randn(3, 256, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        for ffn, layer in zip(lm.ffn, plain.model.layers, strict=True):
            weight = layer.mlp.down_proj.weight.detach()
            assert (ffn.value_vectors - weight.T).norm() < 0.15 * weight.norm()
            with torch.no_grad():
                written = ffn.down_projection(coefficients)
            torch.testing.assert_close(coefficients @ ffn.value_vectors, written, rtol=0.02, atol=0.02)
        for ranker in ("norm", "dla", "grad"):
            assert top_neurons(lm, list(range(5, 25)), 10, 5, ranker).steps == 10
