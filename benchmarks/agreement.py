"""Whether two tools found the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Largest relative difference of a coefficient that counts as the same, in fp32.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two tables of the top-K."""

    entries: int
    same_sets: int
    """Steps and layers with the same K neurons, of ``sets``."""
    sets: int
    largest: float
    """The largest difference of the coefficients of a neuron that both name, as a part of the larger."""

    @property
    def good(self) -> bool:
        return self.largest <= TOLERANCE

    def __str__(self) -> str:
        words = "coefficients agree" if self.good else "COEFFICIENTS DIFFER"
        return f"{words} within {self.largest:.0e}; same top-K at {self.same_sets} of {self.sets} steps and layers"


def compare_tops(ours: Path, theirs: Path) -> Agreement | str:
    """Compare two files with ``neuron`` and ``coefficient`` ``[T, L, K]``; a text if their shapes differ."""
    return compare_arrays(*(_read(file) for file in (ours, theirs)))


def compare_arrays(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> Agreement | str:
    """Compare two pairs of neurons and coefficients ``[T, L, K]``; a text if their shapes differ."""
    (neurons, values), (other_neurons, other_values) = (_by_neuron(*found) for found in (ours, theirs))
    if neurons.shape != other_neurons.shape:
        return f"SHAPES DIFFER: {neurons.shape}, {other_neurons.shape}"
    same = (neurons == other_neurons).all(axis=1)
    # Where the sets differ, two neurons of nearly equal score changed places at the end; the others are compared.
    worst = _difference(values[same], other_values[same])
    for row in np.flatnonzero(~same):
        _, left, right = np.intersect1d(neurons[row], other_neurons[row], return_indices=True)
        worst = max(worst, _difference(values[row, left], other_values[row, right]))
    return Agreement(neurons.size, int(same.sum()), len(same), worst)


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(file) as found:
        return found["neuron"], found["coefficient"]


def _by_neuron(neuron: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    neuron, value = (array.reshape(-1, array.shape[-1]) for array in (neuron, value))
    order = neuron.argsort(axis=1)
    return np.take_along_axis(neuron, order, 1), np.take_along_axis(value, order, 1)


def _difference(left: np.ndarray, right: np.ndarray) -> float:
    if not left.size:
        return 0.0
    scale = np.maximum(np.maximum(np.abs(left), np.abs(right)), np.finfo(np.float32).tiny)
    return float((np.abs(left - right) / scale).max())


def same_texts(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """How many of the texts are the same, spaces at both ends set aside."""
    same = sum(a.strip() == b.strip() for a, b in zip(ours, theirs, strict=True))
    return f"same text {same} of {len(ours)}"
