"""The cluster bootstrap: questions are drawn with replacement, and all that belongs to a question goes with it.

One matrix of weights serves every variant, concept and role, so that a difference between variants is taken on the same
resampled questions. Intervals are percentile intervals (Efron & Tibshirani, 1993, chapter 13) at the levels that
Hesterberg (2015, "What Teachers Should Know About the Bootstrap", section 4.2) gives for few clusters: the plain
percentiles are too narrow by about the factor that sets a t interval apart from a normal one.

Shapes: ``R`` resamples, ``Q`` questions, ``C`` cells, whatever they are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

__all__ = ["draw_weights", "interval", "interval_levels", "ratio", "resampled_ratios"]

Cells = Float64[np.ndarray, " *C"]


def draw_weights(questions: int, resamples: int, seed: int) -> Float64[np.ndarray, "R Q"]:
    """How often each question is drawn in each resample."""
    if questions == 0:
        return np.zeros((resamples, 0))
    drawn = np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), size=resamples)
    return drawn.astype(np.float64)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """``numerator / denominator``, NaN where there is nothing to divide by."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    found = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=found, where=denominator > 0)
    return found


def resampled_ratios(weights: np.ndarray, numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """``sum(numerator) / sum(denominator)`` over the questions of each resample.

    Args:
        weights: ``[R, Q]``.
        numerator: ``[Q, *C]``, here active neuron-steps.
        denominator: ``[Q, *C]``, here all neuron-steps.

    Returns:
        ``[R, *C]``, NaN for a resample whose denominator is zero.
    """
    return ratio(np.tensordot(weights, numerator, axes=1), np.tensordot(weights, denominator, axes=1))


def interval(samples: np.ndarray, clusters: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end over the first axis of ``samples`` ``[R, *C]``; NaN for fewer than two clusters.

    Samples that are NaN are left out; a cell that has none left is NaN.
    """
    shape = samples.shape[1:]
    low, high = np.full(shape, np.nan), np.full(shape, np.nan)
    if clusters < 2 or not len(samples):
        return low, high
    levels = interval_levels(clusters, confidence)
    whole = ~np.isnan(samples).any(axis=0)
    low[whole], high[whole] = np.quantile(samples[:, whole], levels, axis=0)
    for place in np.argwhere(~whole):
        cell = samples[(slice(None), *place)]
        kept = cell[~np.isnan(cell)]
        if len(kept):
            low[tuple(place)], high[tuple(place)] = np.quantile(kept, levels)
    return low, high


def interval_levels(clusters: int, confidence: float) -> tuple[float, float]:
    """The quantiles of the bootstrap distribution that bound an interval: ``Phi(-+ sqrt(n / (n - 1)) t_{n-1})``."""
    from scipy.special import ndtr, stdtrit

    tail = float(stdtrit(clusters - 1, (1 - confidence) / 2))
    low = float(ndtr(np.sqrt(clusters / (clusters - 1)) * tail))
    return low, 1 - low
