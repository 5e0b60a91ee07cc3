"""Intervals and tests, each with its source."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np

__all__ = ["permutation_p_value", "wilson"]


def wilson(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval for a proportion (Wilson, 1927); ``(nan, nan)`` without trials.

    ``successes`` may be a fraction: the mean over several draws varies less than a single one, so that the interval is
    then wider than need be, and never empty where nothing or everything succeeds.
    """
    if trials == 0:
        return float("nan"), float("nan")
    # Written out, since importing scipy.stats takes longer than everything else that `cotlens show` does.
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / trials, z**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def permutation_p_value(observed: float, draws: np.ndarray) -> float:
    """One-sided p-value that ``observed`` is as low as it is by chance: ``(1 + #{draws <= observed}) / (1 + n)``.

    The added ones keep it from being zero (Phipson & Smyth, 2010); with ``n`` draws it can't fall below
    ``1 / (1 + n)``. Without draws it is 1.
    """
    return float((1 + np.count_nonzero(draws <= observed + 1e-12)) / (1 + len(draws)))
