"""Counting the activity of one layer's neurons.

Shapes: ``F`` neurons, ``U = 2F`` signed neurons (``2n`` neuron ``n`` with a positive coefficient, ``2n + 1`` with a
negative one), ``E`` entries: one neuron at one step; ``B`` bins of a histogram.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8, Int32, UInt8, UInt32

__all__ = ["BINS", "CONTEXT", "KEPT_CONTEXTS", "Entries", "LayerTally", "bin_edges"]

#: Bins of a histogram of coefficients, half of them for each sign.
BINS = 32
#: Contexts kept for each signed neuron.
KEPT_CONTEXTS = 20
#: A context as it is stored: the step's number in the run, and what the neuron did there.
CONTEXT = np.dtype([("step", "<u4"), ("coefficient", "<f4"), ("score", "<f4"), ("rank", "<u1")])

#: Exponent of a neuron that has not been seen.
_UNSEEN = -127


class Entries(NamedTuple):
    """What is active in one layer at some steps. Coefficients are not zero."""

    neuron: Int32[np.ndarray, " E"]
    coefficient: Float32[np.ndarray, " E"]
    score: Float32[np.ndarray, " E"]
    rank: UInt8[np.ndarray, " E"]
    step: UInt32[np.ndarray, " E"]
    """The step's number in the run."""
    variant: Int32[np.ndarray, " E"]
    span: Int32[np.ndarray, " E"]
    """Number of the bin of steps."""
    roles: Int8[np.ndarray, "2 E"]
    """Of the token predicted and of the token read, as places in `ROLES`."""


@dataclass(slots=True)
class LayerTally:
    """The sums of one layer. Their order does not matter: the same entries give the same result."""

    histogram: UInt32[np.ndarray, "F B"]
    scale: Int8[np.ndarray, " F"]
    """The power of two that the neuron's coefficients lie within: its histogram goes from ``-2**scale`` to it."""
    by_variant: Int32[np.ndarray, "V U"]
    by_step: Int32[np.ndarray, "T U"]
    by_role: Int32[np.ndarray, "2 G U"]
    threshold: Float32[np.ndarray, " U"]
    """No entry with a lower score can be among the contexts of this signed neuron."""
    signed: list[Int32[np.ndarray, " E"]] = field(default_factory=list)
    """Of the contexts found so far the signed neuron, piece by piece."""
    contexts: list[np.ndarray] = field(default_factory=list)
    """The same contexts as records of `CONTEXT`."""
    waiting: int = 0
    """How many contexts were added since the last `settle`."""

    @classmethod
    def empty(cls, width: int, variants: int, spans: int, roles: int) -> LayerTally:
        return cls(
            histogram=np.zeros((width, BINS), np.uint32),
            scale=np.full(width, _UNSEEN, np.int8),
            by_variant=np.zeros((variants, 2 * width), np.int32),
            by_step=np.zeros((spans, 2 * width), np.int32),
            by_role=np.zeros((2, roles, 2 * width), np.int32),
            threshold=np.full(2 * width, -np.inf, np.float32),
        )

    def add(self, found: Entries) -> None:
        signed = 2 * found.neuron + (found.coefficient < 0)
        _count(self.by_variant, found.variant, signed)
        _count(self.by_step, found.span, signed)
        for table, role in zip(self.by_role, found.roles, strict=True):
            _count(table, role, signed)
        self._add_to_histogram(found)
        self._add_contexts(signed, found)

    def settle(self) -> None:
        """Keep the best contexts of each signed neuron only, in order, and raise the thresholds."""
        signed = np.concatenate([np.zeros(0, np.int32), *self.signed])
        contexts = np.concatenate([np.zeros(0, CONTEXT), *self.contexts])
        order = np.lexsort((contexts["step"], -contexts["score"], signed))
        signed, contexts = signed[order], contexts[order]
        starts = np.searchsorted(signed, np.arange(len(self.threshold)))
        kept = np.arange(len(signed)) - starts[signed] < KEPT_CONTEXTS
        signed, contexts = signed[kept], contexts[kept]
        held = np.bincount(signed, minlength=len(self.threshold))
        full = np.flatnonzero(held == KEPT_CONTEXTS)
        self.threshold[full] = contexts["score"][np.cumsum(held)[full] - 1]
        self.signed, self.contexts, self.waiting = [signed], [contexts], 0

    def _add_to_histogram(self, found: Entries) -> None:
        exponent = np.frexp(found.coefficient)[1].astype(np.int8)
        higher = np.flatnonzero(exponent > self.scale[found.neuron])
        if len(higher):
            before = self.scale.copy()
            np.maximum.at(self.scale, found.neuron[higher], exponent[higher])
            _widen(self.histogram, before, self.scale)
        place = np.floor(np.ldexp(found.coefficient, _HALF_LOG - self.scale[found.neuron].astype(np.int32)))
        _count(self.histogram, found.neuron, place.astype(np.int64) + BINS // 2)

    def _add_contexts(self, signed: Int32[np.ndarray, " E"], found: Entries) -> None:
        good = np.flatnonzero(found.score >= self.threshold[signed])
        records = np.empty(len(good), CONTEXT)
        for name in ("step", "coefficient", "score", "rank"):
            records[name] = getattr(found, name)[good]
        self.signed.append(signed[good])
        self.contexts.append(records)
        self.waiting += len(good)
        if self.waiting > KEPT_CONTEXTS * len(self.threshold) // 2:
            self.settle()


#: Bins of one sign, as a power of two.
_HALF_LOG = (BINS // 2).bit_length() - 1


def bin_edges(scale: int) -> Float32[np.ndarray, " B+1"]:
    """The edges of a histogram with this scale."""
    top = 1.0 if scale == _UNSEEN else 2.0**scale
    return np.linspace(-top, top, BINS + 1, dtype=np.float32)


def _widen(histogram: UInt32[np.ndarray, "F B"], before: np.ndarray, after: np.ndarray) -> None:
    """Add up neighbouring bins of the neurons whose scale has grown; no entry changes its place."""
    for neuron in np.flatnonzero((after > before) & (before != _UNSEEN)):
        shift = min(int(after[neuron]) - int(before[neuron]), _HALF_LOG + 1)
        places = ((np.arange(BINS) - BINS // 2) >> shift) + BINS // 2
        histogram[neuron] = np.bincount(places, histogram[neuron], minlength=BINS).astype(np.uint32)


def _count(table: np.ndarray, row: np.ndarray, column: np.ndarray) -> None:
    np.add.at(table, (row, column), 1)
