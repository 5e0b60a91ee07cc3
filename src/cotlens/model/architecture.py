"""Where each architecture keeps the parts that cotlens looks at.

An architecture is found by its modules, not by its name: the first `Layout` whose paths all exist is the one. To
support another, add one entry to `LAYOUTS`; the conformance test then runs on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cotlens.errors import ModelFormatError

__all__ = ["LAYOUTS", "FeedForward", "Layout", "find_layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Dotted module paths: from the model to its layers and final norm, from a layer to its down projection."""

    layers: str
    down_projection: str
    final_norm: str


LAYOUTS: tuple[Layout, ...] = (
    # Llama, SmolLM, Qwen2, Gemma 3 (text). Gemma 3 normalises the FFN's output before it joins the residual
    # stream; value vectors are taken before that norm.
    Layout(layers="model.layers", down_projection="mlp.down_proj", final_norm="model.norm"),
    # GPT-2
    Layout(layers="transformer.h", down_projection="mlp.c_proj", final_norm="transformer.ln_f"),
)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The feed-forward block of one layer, seen as ``F`` neurons that each write a value vector.

    The block's output is ``sum_i m_i v_i`` (plus the projection's bias): the coefficients ``m`` are the input of
    ``down_projection``, the value vectors are its columns (Geva et al., 2022).
    """

    layer: int
    down_projection: nn.Module

    @property
    def value_vectors(self) -> Float[Tensor, "F D"]:
        """One row per neuron; a view of the weight, never a copy."""
        weight: Tensor = self.down_projection.weight.detach()  # type: ignore[operator]
        # nn.Linear stores [D, F]; GPT-2's Conv1D stores the transpose.
        return weight if isinstance(self.down_projection, Conv1D) else weight.T

    @property
    def width(self) -> int:
        """Number of neurons, ``F``."""
        return int(self.value_vectors.shape[0])

    def value_norms(self) -> Float[Tensor, " F"]:
        """Euclidean length of each value vector, in fp32."""
        norms: Tensor = torch.linalg.vector_norm(self.value_vectors.float(), dim=1)
        return norms


def find_layout(model: nn.Module) -> Layout:
    """The layout that fits ``model``.

    Raises:
        ModelFormatError: naming the model's class, and what an entry has to say.
    """
    for layout in LAYOUTS:
        if _fits(model, layout):
            return layout
    raise ModelFormatError(
        f"{type(model).__name__}: feed-forward blocks not found; cotlens needs a decoder whose layers each have one "
        "down projection. Describe the architecture with a Layout in cotlens/model/architecture.py"
    )


def feed_forwards(model: nn.Module, layout: Layout) -> tuple[FeedForward, ...]:
    layers = attrgetter(layout.layers)(model)
    find = attrgetter(layout.down_projection)
    return tuple(FeedForward(index, find(layer)) for index, layer in enumerate(layers))


def _fits(model: nn.Module, layout: Layout) -> bool:
    try:
        layers = attrgetter(layout.layers)(model)
        attrgetter(layout.final_norm)(model)
        projections = [attrgetter(layout.down_projection)(layer) for layer in layers]
    except AttributeError:
        return False
    return bool(projections) and all(isinstance(p, nn.Linear | Conv1D) for p in projections)


def norm_gain(norm: nn.Module, width: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " D"]:
    """The gain of an RMS or layer norm, whatever its parametrisation (Gemma stores gain minus one).

    A vector of alternating ones has root mean square 1 and, for an even width, mean 0: the norm returns its gain
    times that vector, plus a bias that cancels between the vector and its negative.
    """
    probe = torch.ones(width, dtype=dtype, device=device)
    probe[1::2] = -1
    with torch.no_grad():
        up: Tensor = norm(probe)
        down: Tensor = norm(-probe)
    return ((up - down) / (2 * probe)).float()
