"""Counting the activity of one layer's neurons.

Shapes: ``F`` neurons, ``U = 2F`` signed neurons (``2n`` neuron ``n`` with a positive coefficient, ``2n + 1`` with a
negative one), ``R`` steps with ``K`` entries each, ``E`` entries, ``A`` properties of a step, ``C`` columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int32, Int64, UInt32

from cotlens.explorer.strongest import StrongestContexts

__all__ = ["BINS", "UNSEEN", "LayerRows", "LayerTally", "bin_edges"]

#: Bins of a histogram of coefficients, for each sign.
BINS = 32
#: The scale of a neuron that has not been seen, and the smallest that one may have.
UNSEEN = -128
_SMALLEST = -100
#: Added at each place; of the tables' own type, which is several times faster.
_ONE = np.int32(1)


@dataclass(frozen=True, slots=True)
class LayerRows:
    """What is active in one layer at some steps."""

    neuron: Int32[np.ndarray, "R K"]
    coefficient: Float32[np.ndarray, "R K"]
    score: Float32[np.ndarray, "R K"]
    step: UInt32[np.ndarray, " R"]
    """The step's number in the run."""
    columns: Int16[np.ndarray, "A R"]
    """For each property of a step the column in which its entries count."""


@dataclass(frozen=True, slots=True)
class LayerTally:
    """The sums of one layer; those of rows that come in any order are the same. Hold ``lock`` while adding."""

    counts: Int32[np.ndarray, "C U"]
    histograms: Int32[np.ndarray, "U B"]
    scale: Int16[np.ndarray, " F"]
    """The power of two that the neuron's coefficients lie within: its histograms go from 0 to it, and to its minus."""
    contexts: StrongestContexts
    lock: Lock = field(default_factory=Lock)

    def add(self, rows: LayerRows) -> None:
        k = rows.neuron.shape[1]
        signed = 2 * rows.neuron.astype(np.int64) + (rows.coefficient < 0)
        owner, coefficient, score = signed.ravel(), rows.coefficient.ravel(), rows.score.ravel()
        moving = None if coefficient.all() else np.flatnonzero(coefficient)  # a coefficient of zero has no sign
        for column in rows.columns.astype(np.int64):
            place = (column[:, None] * self.counts.shape[1] + signed).ravel()
            np.add.at(self.counts.reshape(-1), place if moving is None else place[moving], _ONE)
        if moving is not None:
            owner, coefficient, score = owner[moving], coefficient[moving], score[moving]
        self._add_to_histograms(owner, np.abs(coefficient))
        good = self.contexts.reaching(owner, score)
        good = good[self._grouping(owner[good])]
        row, rank = np.divmod(good if moving is None else moving[good], k)
        self.contexts.add(owner[good], score[good], rows.step[row], coefficient[good], rank.astype(np.uint8))

    def _grouping(self, signed: Int64[np.ndarray, " E"]) -> Int64[np.ndarray, " E"]:
        """An order in which equal ones are neighbours; numbers of 16 bits are sorted by radix."""
        return np.argsort(signed.astype(np.uint16) if self.counts.shape[1] <= 2**16 else signed, kind="stable")

    def _add_to_histograms(self, signed: Int64[np.ndarray, " E"], size: Float32[np.ndarray, " E"]) -> None:
        place = self._bins_per_unit()[signed] * size
        outside = np.flatnonzero(place >= BINS)
        if len(outside):
            before = self.scale.copy()
            exponent = np.frexp(size[outside])[1].astype(np.int16)
            np.maximum.at(self.scale, signed[outside] >> 1, np.maximum(exponent, _SMALLEST))
            _widen(self.histograms, before, self.scale)
            place = self._bins_per_unit()[signed] * size
        np.add.at(self.histograms.reshape(-1), signed * BINS + place.astype(np.int64), _ONE)

    def _bins_per_unit(self) -> Float32[np.ndarray, " U"]:
        """Infinitely many of a neuron that has not been seen: whatever it does is outside."""
        bins: np.ndarray = np.ldexp(np.float32(BINS), -np.maximum(self.scale, _SMALLEST))
        bins[self.scale == UNSEEN] = np.inf
        return np.repeat(bins, 2)


def bin_edges(scale: int) -> Float64[np.ndarray, " 2B+1"]:
    """The edges of both histograms of a neuron with this scale, from the lowest coefficient to the highest."""
    top = 1.0 if scale == UNSEEN else 2.0**scale
    return np.linspace(-top, top, 2 * BINS + 1)


def _widen(
    histograms: Int32[np.ndarray, "U B"], before: Int16[np.ndarray, " F"], after: Int16[np.ndarray, " F"]
) -> None:
    """Add up neighbouring bins of the neurons whose scale has grown; no entry changes its place."""
    steps = np.where(before == UNSEEN, 0, after - before)
    while (grown := np.flatnonzero(steps > 0)).size:
        signed = np.concatenate([2 * grown, 2 * grown + 1])
        pairs = histograms[signed].reshape(len(signed), -1, 2).sum(axis=2, dtype=np.int32)
        histograms[signed] = 0
        histograms[signed, : BINS // 2] = pairs
        steps[grown] -= 1
