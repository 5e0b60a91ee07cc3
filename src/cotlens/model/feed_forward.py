"""The feed-forward block of one layer, seen as neurons that each write a value vector."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cotlens.model.quantised import dense_weight, projection_shape

__all__ = ["FeedForward", "norm_gain"]


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The feed-forward block of one layer, seen as ``F`` neurons that each write a value vector.

    The block's output is ``sum_i m_i v_i`` (plus the projection's bias): the coefficients ``m`` are the input of
    ``down_projection``, the value vectors are its columns (Geva et al., 2022).
    """

    layer: int
    down_projection: nn.Module
    block: nn.Module | None = None
    """The module that the down projection ends, where the architecture has one (OPT has none)."""
    post_norm: nn.Module | None = None
    """The norm between the block's output and the residual stream, where there is one (Gemma 2 and 3, OLMo 2)."""

    @property
    def value_vectors(self) -> Float[Tensor, "F D"]:
        """One row per neuron: a view of the weight; a copy only where the weight is quantised."""
        return dense_weight(self.down_projection).T

    @property
    def residual_vectors(self) -> Float[Tensor, "F D"]:
        """The direction in which each neuron moves the residual stream, one row per neuron.

        Where the block's output joins the stream as it is, these are the value vectors. Where a root-mean-square norm
        with gain ``g`` lies between, neuron ``i`` adds ``m_i (g * v_i) / rms``: the rows are ``g * v_i``, in fp32, and
        ``rms``, the same positive number for all neurons of a layer at a position, is left out, and so is a number that
        the model multiplies all blocks with (Granite).
        """
        if self.post_norm is None:
            return self.value_vectors
        values = self.value_vectors.float()
        return values * norm_gain(self.post_norm, values.shape[1])

    @property
    def width(self) -> int:
        """Number of neurons, ``F``."""
        return projection_shape(self.down_projection)[1]

    @property
    def d_model(self) -> int:
        """Length of a value vector, ``D``."""
        return projection_shape(self.down_projection)[0]

    def value_norms(self) -> Float[Tensor, " F"]:
        """Euclidean length of each value vector, in fp32."""
        norms: Tensor = torch.linalg.vector_norm(self.value_vectors.float(), dim=1)
        return norms


def norm_gain(norm: nn.Module, width: int) -> Float[Tensor, " D"]:
    """The gain of an RMS or layer norm in fp32, whatever its parametrisation (Gemma stores gain minus one).

    A vector of alternating ones has root mean square 1 and, for an even width, mean 0: the norm returns its gain
    times that vector, plus a bias that cancels between the vector and its negative.
    """
    exact = copy.deepcopy(norm).float()
    device = next((parameter.device for parameter in exact.parameters()), torch.device("cpu"))
    probe = torch.ones(width, device=device)
    probe[1::2] = -1
    with torch.no_grad():
        up: Tensor = exact(probe)
        down: Tensor = exact(-probe)
    return (up - down) / (2 * probe)
