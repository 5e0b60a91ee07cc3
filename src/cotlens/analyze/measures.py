"""What is said of a set in a cell (a variant, a role, a layer, a step): how often, with which sign, how strongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64

from cotlens.analyze.bootstrap import ratio
from cotlens.analyze.sets import SetIndex

__all__ = ["MEASURES", "MEASURE_SCHEMA", "measure_group", "members_of"]

#: Column: meaning. Shares are of neuron-steps, but for ``any``.
MEASURES: dict[str, str] = {
    "frequency": "share of neuron-steps at which a neuron is active with the sign of its label",
    "positive": "of these, those with a positive coefficient, as a share of all neuron-steps",
    "negative": "of these, those with a negative coefficient, as a share of all neuron-steps",
    "opposite": "share of neuron-steps at which a neuron is active with the other sign, which suppresses its label",
    "any": "share of steps at which any neuron of the set is active with the sign of its label",
    "distinct": "number of its neurons that are active with the sign of their label at least once",
    "score_positive": "mean signed score m * ||v|| over the active neuron-steps with a positive coefficient",
    "score_negative": "mean signed score m * ||v|| over the active neuron-steps with a negative coefficient",
}


def members_of(index: SetIndex, columns: np.ndarray) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " o"]]:
    """The signed neurons of these columns, once for each; and the other signs of those with one sign only."""
    chosen = np.isin(index.member_column, columns)
    own = index.member[chosen].astype(np.int64)
    return own, index.member[chosen & index.is_opposite].astype(np.int64) ^ 1


def measure_group(
    neurons: np.ndarray,
    scores: np.ndarray,
    with_any: np.ndarray,
    steps: np.ndarray,
    own: np.ndarray,
    opposite: np.ndarray,
    draws: int,
) -> dict[str, Any]:
    """The `MEASURES` of one set over ``C`` cells, its draws taken together.

    Args:
        neurons: ``[C, U]``, how often each signed neuron is active.
        scores: ``[C, U]``, the sums of its scores.
        with_any: ``[C]``, steps with any neuron active, summed over the draws.
        steps: ``[C]``, recorded steps.
        own: the members, as places in ``U``; once for each draw that has them.
        opposite: the members' other signs.
        draws: how many there are.

    Returns:
        Column to ``[C]``. ``distinct`` is the mean over the draws.
    """
    is_negative = own % 2 == 1
    active, sums = neurons[:, own], scores[:, own]
    chances = steps * len(own)
    sides = {"positive": ~is_negative, "negative": is_negative}
    counted = {name: active[:, side].sum(axis=1) for name, side in sides.items()}
    return {
        "frequency": ratio(active.sum(axis=1), chances),
        "positive": ratio(counted["positive"], chances),
        "negative": ratio(counted["negative"], chances),
        "opposite": ratio(neurons[:, opposite].sum(axis=1), chances),
        "any": ratio(with_any, steps * draws),
        "distinct": (active > 0).sum(axis=1) / draws,
        "score_positive": ratio(sums[:, sides["positive"]].sum(axis=1), counted["positive"]),
        "score_negative": ratio(sums[:, sides["negative"]].sum(axis=1), counted["negative"]),
    }


MEASURE_SCHEMA: dict[str, Any] = dict.fromkeys(MEASURES, pl.Float64)
