"""Agreement beyond chance."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

__all__ = ["Kappa", "cohens_kappa"]

_NAN = float("nan")


class Kappa(NamedTuple):
    """``value`` with its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def cohens_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    clusters: Sequence[Hashable],
    resamples: int,
    confidence: float,
    seed: int,
) -> Kappa:
    """Cohen's kappa (1960) of two judges' answers to the same questions: verdicts, or names.

    It is 1 for full agreement and 0 for what two judges who give each answer so often would reach by chance; it is not
    defined where both give one and the same answer throughout. The interval is a percentile bootstrap over clusters
    (Efron, 1979), since answers on one neuron for several concepts depend on each other; resamples in which kappa is
    not defined are left out.

    Args:
        first: answers of one judge.
        second: answers of the other, in the same order.
        clusters: what each question belongs to; here its neuron.
        resamples: number of bootstrap samples.
        confidence: level of the interval.
        seed: of the resampling.
    """
    if not first:
        return Kappa(_NAN, _NAN, _NAN)
    rows = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    answers = {answer: place for place, answer in enumerate(dict.fromkeys([*first, *second]))}
    # For each cluster: same answers, then how often the first judge gave each answer, then the second.
    counts = np.zeros((len(rows), 1 + 2 * len(answers)), dtype=np.int64)
    for one, other, cluster in zip(first, second, clusters, strict=True):
        row = counts[rows[cluster]]
        row[0] += one == other
        row[1 + answers[one]] += 1
        row[1 + len(answers) + answers[other]] += 1
    value = _kappa(counts.sum(axis=0)[None])[0]
    drawn = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    values = _kappa(drawn @ counts)
    values = values[np.isfinite(values)]
    if not np.isfinite(value) or not len(values):
        return Kappa(float(value), _NAN, _NAN)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Kappa(float(value), float(low), float(high))


def _kappa(counts: Int[np.ndarray, "n columns"]) -> np.ndarray:
    first, second = np.split(counts[:, 1:], 2, axis=1)
    total = first.sum(axis=1)
    observed = counts[:, 0] / total
    expected = (first * second).sum(axis=1) / total**2
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa: np.ndarray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappa
