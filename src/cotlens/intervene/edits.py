"""Interventions as an additive term on the feed-forward output.

To replace the value vectors ``v_i`` of some neurons by ``v_i + d_i`` is to add ``sum_i m_i d_i`` to the block's output,
at every position, in prompt and completion alike; to replace their coefficients ``m_i`` by fixed ones ``c_i`` is to add
``sum_i (c_i - m_i) v_i``. So an edit is a set of rows and a constant; the weights stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from cotlens.errors import InputError
from cotlens.model.additive import Edit, Neurons, Term, added_to_all, terms_of
from cotlens.model.architecture import FeedForward
from cotlens.model.language_model import LanguageModel

__all__ = ["Edit", "Mean", "Noise", "Resample", "Scale", "Zero", "intervene"]


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

    def term(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Term | None:
        if self.sigma == 0:
            return None
        vectors = ffn.value_vectors[index].float()
        draws = torch.stack([self._draw(ffn.layer, neuron, vectors.shape[1]) for neuron in index.tolist()])
        size = self.sigma * vectors.square().mean(dim=1, keepdim=True).sqrt()
        return Term(index, size * draws.to(vectors.device))

    def _draw(self, layer: int, neuron: int, width: int) -> Float[Tensor, " D"]:
        # Drawn by NumPy, so that a seed means the same noise on every device.
        draw = np.random.default_rng([self.seed, layer, neuron]).standard_normal(width, dtype=np.float32)
        return torch.from_numpy(draw)


@dataclass(frozen=True)
class Zero:
    """The neurons write nothing (zero ablation); with a ``dose`` below 1, that share less than they wrote."""

    neurons: Neurons
    dose: float = 1.0

    def term(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Term | None:
        return _scaled(ffn, index, 1 - self.dose)


@dataclass(frozen=True)
class Scale:
    """The neurons write ``factor`` times what they wrote; 1 changes nothing."""

    neurons: Neurons
    factor: float

    def term(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Term | None:
        return _scaled(ffn, index, self.factor)


@dataclass(frozen=True, eq=False)
class Mean:
    """The neurons' coefficients are replaced by their means over a reference text, at every token (mean ablation).

    ``means`` holds one array ``[F]`` per layer, as `cotlens.mean_coefficients` gives them. ``dose`` is the share of the
    way: at 0.5 each coefficient is halfway between its own value and the mean, at 0 nothing changes.

    Raises:
        InputError: when it is applied, if ``means`` does not have the model's layers and widths.
    """

    neurons: Neurons
    means: Sequence[Float32[np.ndarray, " _"]]
    dose: float = 1.0

    def term(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Term | None:
        if self.dose == 0:
            return None
        return _replaced(ffn, index, _of_layer(self.means, ffn, "means"), self.dose)


@dataclass(frozen=True, eq=False)
class Resample:
    """The neurons' coefficients are replaced by those that they have at one token of a reference text (resample
    ablation, with a token in the place of a position in another prompt).

    The draw is joint: all neurons of all layers take their coefficients from the same token, so that what goes together
    in the reference stays together. There is one draw per ``seed``, the same at every token that the model then reads
    or writes; draw with several seeds to see how much depends on the token.

    ``reference`` holds one array ``[T, F]`` per layer, rows being tokens, as `cotlens.reference_coefficients` gives
    them. ``dose`` is the share of the way from each coefficient to the drawn one; at 0 nothing changes.

    Raises:
        InputError: when it is applied, if ``reference`` does not have the model's layers and widths.
    """

    neurons: Neurons
    reference: Sequence[Float32[np.ndarray, "_ _"]]
    seed: int = 0
    dose: float = 1.0

    def term(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Term | None:
        if self.dose == 0:
            return None
        of_tokens = _of_layer(self.reference, ffn, "reference")
        token = int(np.random.default_rng(self.seed).integers(len(of_tokens)))
        return _replaced(ffn, index, of_tokens[token], self.dose)


def _scaled(ffn: FeedForward, index: Int64[Tensor, " n"], factor: float) -> Term | None:
    return None if factor == 1 else Term(index, (factor - 1) * ffn.value_vectors[index].float())


def _replaced(ffn: FeedForward, index: Int64[Tensor, " n"], by: Float32[np.ndarray, " F"], dose: float) -> Term:
    vectors = ffn.value_vectors[index].float()
    aim = torch.from_numpy(by).to(vectors.device)[index]
    return Term(index, -dose * vectors, dose * (aim @ vectors))


def _of_layer(layers: Sequence[np.ndarray], ffn: FeedForward, name: str) -> np.ndarray:
    """What ``layers`` holds for the layer of ``ffn``."""
    found = layers[ffn.layer] if ffn.layer < len(layers) else np.empty(0)
    if found.shape[-1] != ffn.width or not len(found):
        raise InputError(
            f"{name}: layer {ffn.layer} has {ffn.width} neurons, and the array given for it is {list(found.shape)}; "
            "make it with the same model"
        )
    return found


@contextlib.contextmanager
def intervene(lm: LanguageModel, edits: Iterable[Edit]) -> Iterator[None]:
    """Apply ``edits`` to every forward pass in the block; afterwards the model is what it was, whatever happened.

    Raises:
        InputError: a neuron is out of range, or named twice by one edit.
    """
    with added_to_all(lm, terms_of(lm, edits)):
        yield
