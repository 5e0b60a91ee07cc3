"""What the neurons of a layer write to the residual stream, and what that does to the tokens that follow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cotlens.capture.readout import Readout

__all__ = ["LOGITS_AT_ONCE", "Writing", "log_probability_increase"]

#: Logits of neurons held at once, in numbers: 128 MiB of fp32.
LOGITS_AT_ONCE = 2**25
#: Logits of streams worked on at once: few enough for a processor's cache.
_LOGITS_IN_CACHE = 2**20


@dataclass(frozen=True, slots=True)
class Writing:
    """How the neurons of a layer come to the logits of the ``T`` tokens: neuron ``i`` adds ``amount_i vector_i``.

    Where the architecture puts a norm between the feed-forward block and the residual stream (Gemma 2 and 3, OLMo 2),
    that norm is frozen at what it did: its scale is part of ``amount``, its gain part of ``vectors``.
    """

    amount: Float[Tensor, "T F"]
    vectors: Float[Tensor, "F D"]
    before: Float[Tensor, "T D"]
    """The residual stream after the layer, less all that its feed-forward block added."""
    final: Float[Tensor, "T D"]
    """The residual stream that goes into the final norm."""
    targets: Int64[Tensor, " T"]
    """The token generated at each step."""
    readout: Readout


def log_probability_increase(writing: Writing, wanted: Bool[Tensor, "T F"]) -> Float[Tensor, "T F"]:
    """``log p(y | before + amount_i vector_i) - log p(y | before)`` where it is wanted; elsewhere minus infinity.

    Scale aside, the logits of a sum are the sum of the logits, so each neuron is multiplied with the unembedding once,
    however many steps want it.
    """
    readout = writing.readout
    base = readout.log_probability(writing.before, writing.targets)
    stream = readout.unscaled_logits(writing.before)  # [T, V]
    found = torch.full_like(writing.amount, float("-inf"))
    held, cached = (max(1, most // readout.vocabulary) for most in (LOGITS_AT_ONCE, _LOGITS_IN_CACHE))
    for chunk in torch.split(wanted.any(dim=0).nonzero()[:, 0], held):
        own = readout.unscaled_logits(writing.vectors[chunk])  # [chunk, V]
        pairs = wanted[:, chunk].nonzero()
        for step, place in (some.unbind(dim=1) for some in torch.split(pairs, cached)):
            neuron = chunk[place]
            amount = writing.amount[step, neuron][:, None]
            scale = readout.norm.scale(writing.before[step] + amount * writing.vectors[neuron])[:, None]
            logits = own[place].mul_(amount).add_(stream[step]).mul_(scale)
            found[step, neuron] = readout.log_probability_of(logits, writing.targets[step]) - base[step]
    return found
