"""Weights made dense: each way of storing one stands here as a small module of the same make."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

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
