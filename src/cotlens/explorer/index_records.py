"""What the index answers with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from cotlens.types import NeuronId

__all__ = ["Context", "NeuronSummary", "SharedNeurons"]


@dataclass(frozen=True, slots=True)
class NeuronSummary:
    """Where one neuron is active. A hit is a step at which it is among the top-K of its layer.

    ``steps`` in the tables is the number of recorded steps of that row, so that hits divided by it is a frequency.
    """

    id: NeuronId
    positive: int
    """Hits with a positive coefficient."""
    negative: int
    """Hits with a negative coefficient."""
    edges: Float64[np.ndarray, " B+1"]
    """Of the histogram's bins, equally wide, 0 in the middle. An edge belongs to the bin that is farther from 0."""
    counts: Int64[np.ndarray, " B"]
    """Hits in each bin of the signed coefficient."""
    variants: pl.DataFrame
    """variant, steps, positive, negative."""
    steps: pl.DataFrame
    """first, last, steps, positive, negative: generated tokens ``first`` to ``last`` of the completions."""
    roles: pl.DataFrame
    """token, role, steps, positive, negative; ``token`` is ``predicted`` or ``read``. No rows without stored tokens."""

    @property
    def hits(self) -> int:
        return self.positive + self.negative


@dataclass(frozen=True, slots=True)
class Context:
    """One step at which a neuron is active."""

    variant: str
    question_id: str
    step: int
    coefficient: float
    score: float
    rank: int
    """Its place among the top-K of its layer at this step, 0 for the first."""


@dataclass(frozen=True, slots=True)
class SharedNeurons:
    """The neurons that are active in one of two variants, or in both."""

    steps_a: int
    """Recorded steps of the first variant."""
    steps_b: int
    shared: int
    """How many neurons are active in both."""
    only_a: int
    only_b: int
    neurons: pl.DataFrame
    """layer, neuron, hits_a, hits_b; by layer and neuron."""
