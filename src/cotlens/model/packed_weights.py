"""Linear layers computed from weights that lie in the order in which the processor reads them.

On a CPU, a product of a weight with few rows, as in decoding, spends much of its time on bringing the weight into
order. oneDNN can do that beforehand. The numbers are those of the plain product up to rounding. The ordered copies are
made for one call and dropped after it, so a weight that somebody edits in between is never stale.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import free_bytes

__all__ = ["PackedWeights"]

#: Neither is public, so they may be gone one day.
_order: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_multiply: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
#: Of the free memory; the rest is for caches.
_SHARE = 0.3


class PackedWeights:
    """Ordered copies of the weights of a model's linear layers."""

    def __init__(self, layers: dict[nn.Module, Callable[[Tensor], Tensor]]) -> None:
        self._layers = layers

    @classmethod
    @torch.inference_mode()
    def of(cls, lm: LanguageModel, rows: int) -> PackedWeights | None:
        """Copies for products with about ``rows`` rows; None where they can't be made, or don't fit in memory."""
        if _order is None or _multiply is None or lm.device.type != "cpu" or lm.dtype != torch.float32:
            return None
        layers = [m for m in lm.model.modules() if type(m) is nn.Linear and "forward" not in m.__dict__]
        if sum(layer.weight.nbytes for layer in layers) > _SHARE * free_bytes(lm.device):
            return None
        try:
            return cls({layer: _product(layer, rows) for layer in layers})
        except (RuntimeError, MemoryError):  # a build without oneDNN, or less memory than was free
            return None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """The model's linear layers use the copies; afterwards they are as they were. Hooks on them stay in force."""
        try:
            for layer, product in self._layers.items():
                layer.__dict__["forward"] = product
            yield
        finally:
            for layer in self._layers:
                layer.__dict__.pop("forward", None)


def _product(layer: nn.Linear, rows: int) -> Callable[[Tensor], Tensor]:
    weight, bias = _order(layer.weight.detach(), rows), layer.bias
    return lambda inputs: _multiply(inputs, weight, bias, "none", [], "")
