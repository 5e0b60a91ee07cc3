"""The active neurons of single steps, and adding them up: what counting is made of.

``E`` entries: neurons of the sets that are among the top-K of a step and layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from cotlens.analyze.sets import SetIndex

__all__ = ["Entries", "add_up", "distinct", "find_entries"]


@dataclass(slots=True)
class Entries:
    """The active neurons of a chunk that are in any set."""

    question: Int64[np.ndarray, " E"]
    step: Int64[np.ndarray, " E"]
    layer: Int64[np.ndarray, " E"]
    signed: Int64[np.ndarray, " E"]
    """The number of the neuron in a `SetIndex`, and its sign."""
    score: Float64[np.ndarray, " E"]
    """Signed: ``m ||v||``."""


def find_entries(chunk: pl.DataFrame, number: Mapping[str, int], index: SetIndex) -> Entries:
    """The entries of ``chunk``, rows of activations; ``number`` gives each question's place."""
    k = len(chunk["neuron"][0]) if chunk.height else 0
    neuron = chunk["neuron"].explode().to_numpy()
    layer = np.repeat(chunk["layer"].to_numpy(), k)
    found = index.find(layer, neuron)
    kept = np.flatnonzero(found >= 0)
    row, found = kept // k if k else kept, found[kept]
    coefficient = chunk["coefficient"].explode().to_numpy()[kept].astype(np.float64)
    moving = coefficient != 0  # a coefficient of zero has no sign
    row, found, coefficient = row[moving], found[moving], coefficient[moving]
    question = chunk["question_id"].replace_strict(number, return_dtype=pl.Int64).to_numpy()
    return Entries(
        question=question[row],
        step=chunk["step"].to_numpy()[row].astype(np.int64),
        layer=chunk["layer"].to_numpy()[row].astype(np.int64),
        signed=2 * found.astype(np.int64) + (coefficient < 0),
        score=coefficient * index.value_norm[found],
    )


def add_up(target: np.ndarray, place: tuple[np.ndarray, ...], amount: np.ndarray | None = None) -> None:
    """Add ``amount``, or 1, at each place."""
    flat = np.ravel_multi_index(place, target.shape)
    if target.size <= 4 * len(flat) or target.size < 1_000_000:
        target += np.bincount(flat, amount, minlength=target.size).reshape(target.shape).astype(target.dtype)
    else:
        np.add.at(target.reshape(-1), flat, 1 if amount is None else amount)


def distinct(values: np.ndarray, most: int) -> Int64[np.ndarray, " n"]:
    """Each of ``values`` once, in order; by marking them where that takes less room than sorting."""
    if most > 50_000_000:
        return np.unique(values)
    seen: Bool[np.ndarray, " most"] = np.zeros(most, dtype=bool)
    seen[values] = True
    return np.flatnonzero(seen)
