"""The area under the curve: how well a number tells right from wrong answers."""

from __future__ import annotations

import numpy as np

from cotlens.analyze.bootstrap import ratio

__all__ = ["AucParts", "auc_parts", "pooled_auc"]

AucParts = tuple[np.ndarray, np.ndarray]
"""Pairs won and pairs there are, one of each per resample or a single one."""


def auc_parts(values: np.ndarray, outcome: np.ndarray, weights: np.ndarray) -> AucParts:
    """Of the pairs of a right and a wrong answer, how many have the larger value on the right one; ties count half.

    Their ratio is the area under the receiver operating characteristic (Hanley & McNeil, 1982).

    Args:
        values: ``[Q]``, what tells them apart.
        outcome: ``[Q]``, true for right.
        weights: ``[R, Q]``, how often each question counts.
    """
    right, wrong = values[outcome], values[~outcome]
    won = (right[:, None] > wrong[None, :]) + 0.5 * (right[:, None] == wrong[None, :])
    of_right, of_wrong = weights[:, outcome], weights[:, ~outcome]
    return ((of_right @ won) * of_wrong).sum(axis=1), of_right.sum(axis=1) * of_wrong.sum(axis=1)


def pooled_auc(parts: list[AucParts]) -> np.ndarray:
    """The area over several strata, only pairs within a stratum compared: each counts by its number of pairs."""
    if not parts:
        return np.array([np.nan])
    return ratio(np.sum([won for won, _ in parts], axis=0), np.sum([pairs for _, pairs in parts], axis=0))
