"""Rankers: how much each neuron of a layer counts at a token. A new one is a function, and one entry in `RANKERS`.

In all formulas ``m`` is the neuron's coefficient and ``v`` its value vector, ``y`` the token generated, and ``x`` the
residual stream, all at the position that predicts ``y``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cotlens.capture.writing import Writing, log_probability_increase
from cotlens.errors import InputError, near_match

__all__ = ["CANDIDATES", "RANKERS", "LayerTrace", "Needs", "Ranker", "find_ranker"]

Needs = Literal["coefficients", "residuals", "gradients"]

#: How many neurons `logprob` takes from each of two preliminary orders. On SmolLM2-135M the true top-20 was among them
#: in every layer looked at; those of the first order alone missed half of it in the first layer.
CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What one layer did at ``T`` steps, as far as the ranker's needs go."""

    coefficient: Float[Tensor, "T F"]
    value_norm: Float[Tensor, " F"]
    top_k: int
    """How many neurons will be kept."""
    writing: Writing | None = None
    gradient: Float[Tensor, "T F"] | None = None
    """Of the logit of each step's token, in the coefficients of that position."""


@dataclass(frozen=True, slots=True)
class Ranker:
    """Scores every neuron of a layer at every step; the largest scores are kept.

    ``needs`` says what has to be known: the ``coefficients``, which are reduced at once, layer by layer; ``residuals``,
    kept for all layers until the forward pass has ended; or ``gradients``, by a backward pass for each text.
    """

    needs: Needs
    score: Callable[[LayerTrace], Tensor]


def norm(layer: LayerTrace) -> Float[Tensor, "T F"]:
    """``|m| * ||v||``: the length of what the neuron adds to the residual stream, in either direction.

    Source: Geva et al. (2022), *Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the
    Vocabulary Space*; used by Rai & Yao (2024).
    """
    return layer.coefficient.abs().mul_(layer.value_norm)


def signed(layer: LayerTrace) -> Float[Tensor, "T F"]:
    """``m * ||v||``: the same length where the neuron writes its value vector, negative where it writes the reverse.

    Source: `norm`, with the sign that it leaves out. What is kept are the neurons that promote the top of their
    vocabulary projection.
    """
    return layer.coefficient * layer.value_norm


def dla(layer: LayerTrace) -> Float[Tensor, "T F"]:
    """Direct logit attribution: ``<m v, s g * W_U[y]>``, the neuron's own part in the logit of ``y``.

    ``s`` is the final norm's scale at this position, frozen, and ``g`` its gain; where the norm takes off the mean, so
    does this. A number that the model multiplies its blocks with, or its logits, is in it. The parts of all neurons, of
    embeddings, attention and biases add up to the logit, before a soft cap.

    Source: Elhage et al. (2021), *A Mathematical Framework for Transformer Circuits*; for feed-forward neurons Geva et
    al. (2022).
    """
    writing = layer.writing
    assert writing is not None
    direction = writing.readout.frozen_direction(writing.final, writing.targets)
    return writing.amount * (direction @ writing.vectors.T)


def logprob(layer: LayerTrace) -> Float[Tensor, "T F"]:
    """Log-probability increase: ``log p(y | x + m v) - log p(y | x)``, ``x`` being what the block's output is added to.

    ``p(y | x)`` is the softmax of the unembedding after the final norm, applied for real. The increase is computed for
    `CANDIDATES` neurons of a layer and step (or ``top_k``, if that is more) with the largest first-order effect, ``m``
    times the derivative along ``v``, and as many with the largest ``|m| * ||v||``, whose effect first order may miss;
    all others score minus infinity. In a layer no wider than `CANDIDATES` nothing is left out.

    Source: Yu & Ananiadou (2024), *Neuron-Level Knowledge Attribution in Large Language Models*.
    """
    writing = layer.writing
    assert writing is not None
    slope = writing.readout.slope(writing.before, writing.targets)
    first_order = writing.amount * (slope @ writing.vectors.T)
    size = writing.amount.abs() * torch.linalg.vector_norm(writing.vectors, dim=1)
    count = min(max(CANDIDATES, layer.top_k), first_order.shape[1])
    candidate = torch.zeros_like(first_order, dtype=torch.bool)
    for effect in (first_order, size):
        candidate.scatter_(1, effect.topk(count, dim=1).indices, value=True)
    return log_probability_increase(writing, candidate)


def grad(layer: LayerTrace) -> Float[Tensor, "T F"]:
    """``m * d logit(y) / d m``: to first order, what the logit of ``y`` loses when the neuron is silenced here.

    The derivative takes in all that later layers do with it at this position; coefficients of other positions are
    other variables. The logit is taken before a soft cap.

    Source: gradient times input, after Shrikumar et al. (2017), *Learning Important Features Through Propagating
    Activation Differences*; for components of a language model, Nanda (2023), *Attribution Patching*.
    """
    assert layer.gradient is not None
    return layer.coefficient * layer.gradient


RANKERS: dict[str, Ranker] = {
    "norm": Ranker("coefficients", norm),
    "signed": Ranker("coefficients", signed),
    "dla": Ranker("residuals", dla),
    "logprob": Ranker("residuals", logprob),
    "grad": Ranker("gradients", grad),
}


def find_ranker(name: str) -> Ranker:
    """The ranker called ``name``.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RANKERS:
        raise InputError(f"ranker {name!r} is not known{near_match(name, RANKERS)}")
    return RANKERS[name]
