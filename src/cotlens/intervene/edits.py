"""Interventions as an additive term on the feed-forward output.

To replace the value vectors ``v_i`` of some neurons by ``v_i + d_i`` is to add ``sum_i m_i d_i`` to the block's output,
at every position, in prompt and completion alike. So an edit is a set of rows ``d_i``; the weights stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cotlens.model.additive import Edit, Neurons, added_to_all, terms_of
from cotlens.model.architecture import FeedForward
from cotlens.model.language_model import LanguageModel

__all__ = ["Edit", "Noise", "Scale", "Zero", "intervene"]


@dataclass(frozen=True)
class Noise:
    """Gaussian noise with mean zero on each value vector, independent for each neuron.

    ``sigma`` is the standard deviation of each entry, relative to the root mean square of that vector's entries:
    at 1, the noise is as long as the vector. The draw depends on ``seed``, layer and neuron only, so it stays the
    same at every token, and a neuron gets the same noise in whatever set it is. Rai & Yao (2024) corrupt value
    vectors with Gaussian noise too.
    """

    neurons: Neurons
    sigma: float = 1.0
    seed: int = 0

    def change(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Float[Tensor, "n D"] | None:
        if self.sigma == 0:
            return None
        vectors = ffn.value_vectors[index].float()
        draws = torch.stack([self._draw(ffn.layer, neuron, vectors.shape[1]) for neuron in index.tolist()])
        return self.sigma * vectors.square().mean(dim=1, keepdim=True).sqrt() * draws.to(vectors.device)

    def _draw(self, layer: int, neuron: int, width: int) -> Float[Tensor, " D"]:
        # Drawn by NumPy, so that a seed means the same noise on every device.
        draw = np.random.default_rng([self.seed, layer, neuron]).standard_normal(width, dtype=np.float32)
        return torch.from_numpy(draw)


@dataclass(frozen=True)
class Zero:
    """The neurons write nothing: zero ablation."""

    neurons: Neurons

    def change(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Float[Tensor, "n D"] | None:
        return -ffn.value_vectors[index].float()


@dataclass(frozen=True)
class Scale:
    """The neurons write ``factor`` times what they wrote; 1 changes nothing."""

    neurons: Neurons
    factor: float

    def change(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Float[Tensor, "n D"] | None:
        if self.factor == 1:
            return None
        return (self.factor - 1) * ffn.value_vectors[index].float()


@contextlib.contextmanager
def intervene(lm: LanguageModel, edits: Iterable[Edit]) -> Iterator[None]:
    """Apply ``edits`` to every forward pass in the block; afterwards the model is what it was, whatever happened.

    Raises:
        InputError: a neuron is out of range, or named twice by one edit.
    """
    with added_to_all(lm, terms_of(lm, edits)):
        yield
