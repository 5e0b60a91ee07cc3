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
    first: Sequence[bool],
    second: Sequence[bool],
    clusters: Sequence[Hashable],
    resamples: int,
    confidence: float,
    seed: int,
) -> Kappa:
    """Cohen's kappa (1960) of two judges' verdicts on the same questions.

    It is 1 for full agreement and 0 for what two judges with these shares of yes would reach by chance; it is not
    defined where both give one and the same verdict throughout. The interval is a percentile bootstrap over clusters
    (Efron, 1979), since verdicts on one neuron for several concepts depend on each other; resamples in which kappa is
    not defined are left out.

    Args:
        first: verdicts of one judge.
        second: verdicts of the other, in the same order.
        clusters: what each question belongs to; here its neuron.
        resamples: number of bootstrap samples.
        confidence: level of the interval.
        seed: of the resampling.
    """
    if not first:
        return Kappa(_NAN, _NAN, _NAN)
    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    counts = np.zeros((len(names), 4), dtype=np.int64)
    for one, other, cluster in zip(first, second, clusters, strict=True):
        counts[names[cluster], 2 * one + other] += 1
    value = _kappa(counts.sum(axis=0)[None])[0]
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    values = _kappa(drawn @ counts)
    values = values[np.isfinite(values)]
    if not np.isfinite(value) or not len(values):
        return Kappa(float(value), _NAN, _NAN)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Kappa(float(value), float(low), float(high))


def _kappa(tables: Int[np.ndarray, "n 4"]) -> np.ndarray:
    """Of tables of counts: both no, only the second yes, only the first yes, both yes."""
    total = tables.sum(axis=1)
    both_no, second_only, first_only, both_yes = tables.T
    yes_first, yes_second = first_only + both_yes, second_only + both_yes
    observed = (both_no + both_yes) / total
    expected = (yes_first * yes_second + (total - yes_first) * (total - yes_second)) / total**2
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa: np.ndarray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return kappa
