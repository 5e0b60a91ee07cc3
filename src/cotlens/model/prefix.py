"""The common beginning of many texts, and what a model remembers of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from cotlens.errors import ModelFormatError
from cotlens.model.additive import RowTerms, Terms
from cotlens.model.language_model import LanguageModel

__all__ = ["Prefix", "Prefixes", "common_prefix_length", "compute_prefix"]


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Token ids of the common beginning with their keys and values, one tensor per layer, one row."""

    ids: tuple[int, ...]
    keys: tuple[Float[Tensor, "1 H P d"], ...]
    values: tuple[Float[Tensor, "1 H P dv"], ...]

    @property
    def length(self) -> int:
        """Number of tokens, ``P``."""
        return len(self.ids)


def common_prefix_length(texts: Sequence[Sequence[int]]) -> int:
    """Length of the longest common beginning that leaves every text at least one token of its own."""
    if not texts:
        return 0
    shortest = min(len(text) for text in texts)
    first = texts[0]
    length = 0
    while length < shortest - 1 and all(text[length] == first[length] for text in texts):
        length += 1
    return length


@torch.inference_mode()
def compute_prefix(lm: LanguageModel, ids: Sequence[int]) -> Prefix:
    """Run the plain forward over ``ids`` once and keep its keys and values.

    Raises:
        ModelFormatError: a layer keeps something else than the keys and values of its own tokens.
    """
    if not ids:
        return Prefix((), (), ())
    cache = DynamicCache()
    lm.model.base_model(torch.tensor([list(ids)], device=lm.device), past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    if [getattr(layer.keys, "ndim", 0) for layer in layers] != [4] * lm.n_layers:
        raise ModelFormatError(
            f"{lm.name}: not every layer keeps keys and values of its own; such models are not supported"
        )
    return Prefix(tuple(ids), tuple(layer.keys for layer in layers), tuple(layer.values for layer in layers))


class Prefixes:
    """The common beginning of a batch, under the terms of each group of rows; computed when a group first needs it."""

    def __init__(self, lm: LanguageModel, ids: Sequence[int], groups: Sequence[Terms] = ({},)) -> None:
        self._lm = lm
        self._ids = tuple(ids)
        self._ready: dict[int, Prefix] = {}
        self.terms = RowTerms(lm, groups)

    @classmethod
    def ready(cls, lm: LanguageModel, prefix: Prefix) -> Prefixes:
        """One that is computed already, without terms."""
        prefixes = cls(lm, prefix.ids)
        prefixes._ready[0] = prefix
        return prefixes

    @property
    def length(self) -> int:
        """Number of tokens, ``P``."""
        return len(self._ids)

    def of(self, group: int) -> Prefix:
        """The prefix that rows of this group go on from."""
        if group not in self._ready:
            with self.terms.added([group]):
                self._ready[group] = compute_prefix(self._lm, self._ids)
        return self._ready[group]

    def forget(self, group: int) -> None:
        """Free the memory of a prefix that is not needed any more."""
        self._ready.pop(group, None)
