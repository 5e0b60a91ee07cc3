"""Linear regression of a yes-or-no outcome with standard errors that know of clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cotlens.analyze.bootstrap import ratio

__all__ = ["Slopes", "cluster_slopes"]


class Slopes(NamedTuple):
    """One slope per predictor ``[C]``, with its interval and two-sided p-value; NaN where it can't be estimated."""

    slope: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def cluster_slopes(
    predictors: np.ndarray, outcome: np.ndarray, covariates: np.ndarray, clusters: np.ndarray, confidence: float
) -> Slopes:
    """The slope of ``outcome`` on each predictor by itself, given the covariates.

    A linear probability model: the slope is the change in the probability of the outcome per unit of the predictor, and
    exists where a logistic regression does not converge since the classes are separable. Errors are robust to any
    dependence within a cluster and to the outcome's unequal variances (Liang & Zeger, 1986), with the small-sample
    factor ``G / (G - 1) * (N - 1) / (N - k)`` and a t distribution with ``G - 1`` degrees of freedom (Cameron & Miller,
    2015, "A Practitioner's Guide to Cluster-Robust Inference"). Covariates are partialled out (Frisch & Waugh, 1933).

    Args:
        predictors: ``[N, C]``.
        outcome: ``[N]``, 0 or 1.
        covariates: ``[N, k]``, the intercept among them.
        clusters: ``[N]``, the number of each row's cluster, from 0.
        confidence: level of the interval.
    """
    from scipy.special import stdtr, stdtrit

    rows, columns = predictors.shape
    groups = int(clusters.max()) + 1 if rows else 0
    rank = int(np.linalg.matrix_rank(covariates)) if rows else 0
    nothing = np.full(columns, np.nan)
    if groups < 2 or rows <= rank + 1 or np.ptp(outcome) == 0:
        return Slopes(nothing, nothing, nothing, nothing)
    x, y = _residuals(predictors, covariates), _residuals(outcome[:, None], covariates)[:, 0]
    squares = (x**2).sum(axis=0)
    # What the covariates explain up to rounding has no slope of its own.
    squares[squares <= 1e-20 + 1e-12 * (predictors**2).sum(axis=0)] = 0
    slope = ratio(x.T @ y, squares)
    scores = np.zeros((groups, columns))
    np.add.at(scores, clusters, x * (y[:, None] - x * slope))
    factor = groups / (groups - 1) * (rows - 1) / (rows - rank - 1)
    error = np.sqrt(factor * (scores**2).sum(axis=0)) / np.where(squares > 0, squares, np.nan)
    half = -float(stdtrit(groups - 1, (1 - confidence) / 2)) * error
    p_value = 2 * stdtr(groups - 1, -np.abs(ratio(slope, error)))
    return Slopes(slope, slope - half, slope + half, p_value)


def _residuals(values: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    fitted, *_ = np.linalg.lstsq(covariates, values, rcond=None)
    return np.asarray(values - covariates @ fitted)
