"""What edits of neuron sets do, beside what the same edits do to random sets that match.

Every measure is a ratio of two sums over clusters: right answers over questions, say, or lost log-probability over
tokens. Intervals resample the clusters, the edited and the untouched model on the same ones.

Shapes: ``Q`` clusters (questions or passages), ``D`` draws of a set, ``R`` random sets, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64

from cotlens.analyze.bootstrap import draw_weights, interval
from cotlens.analyze.edit_measures import MEASURES, Measure, amounts
from cotlens.analyze.permutation import false_discovery
from cotlens.analyze.statistics import permutation_p_value, wilson
from cotlens.config import AnalyzeConfig

__all__ = ["edit_effects"]

_EDIT = ["target", "scope", "kind", "dose"]
_NUMBERS = (
    "untouched", "value", "low", "high", "difference", "difference_low", "difference_high", "random", "random_low",
    "random_high", "excess", "excess_low", "excess_high", "p_value",
)  # fmt: skip
_SCHEMA: dict[str, Any] = {
    "target": pl.String, "scope": pl.String, "kind": pl.String, "dose": pl.Float64, "measure": pl.String,
    "draws": pl.Int64, "control_draws": pl.Int64, "questions": pl.Int64,
} | dict.fromkeys(_NUMBERS, pl.Float64)  # fmt: skip
#: With fewer draws their middle part is no better known than their range.
_MANY_DRAWS = 40


def edit_effects(tables: Mapping[str, pl.DataFrame], config: AnalyzeConfig, seed: int) -> pl.DataFrame:
    """One row per target, scope, kind, dose and measure.

    ``value`` is the mean over the draws of the set, with its interval over clusters: Wilson's for shares, the mean of
    the draws being the share, else a bootstrap interval. ``difference`` is that to the untouched model, paired by
    cluster. ``random`` is the mean over the random sets, with the band that they lie in. ``excess`` is the value less
    that mean; its interval resamples clusters and random sets both (the pigeonhole bootstrap, Owen, 2007). ``p_value``
    is the share of random sets that are at least as harmful, the set among them; in the scope ``rest``, whose sets are
    what is left whole, that are at most as harmful. ``q_value`` corrects it over the targets of a scope, kind, dose and
    measure (Benjamini & Hochberg, 1995).

    Args:
        tables: what lies under ``interventions/`` and, where there is any, under ``specificity/``, by these names.
        config: level and resamples.
        seed: of the resamples.
    """
    rows = [
        edit | {"measure": measure.name} | _numbers(compared, measure, edit["scope"], config, seed)
        for measure in MEASURES
        if measure.table in tables
        for edit, compared in _edits(amounts(tables[measure.table], measure))
    ]
    edits = list(dict.fromkeys(tuple(row[name] for name in _EDIT) for row in rows))
    rows.sort(key=lambda row: edits.index(tuple(row[name] for name in _EDIT)))
    return _corrected(pl.DataFrame(rows, schema=_SCHEMA).with_columns(pl.col(_NUMBERS).fill_nan(None)))


@dataclass(frozen=True, slots=True)
class _Compared:
    """The amounts of one measure: of the untouched model, of a set, and of its random sets."""

    weight: Float64[np.ndarray, " Q"]
    untouched: Float64[np.ndarray, " Q"]
    own: Float64[np.ndarray, "Q D"]
    random: Float64[np.ndarray, "Q R"]

    def ratios(self, amount: np.ndarray) -> np.ndarray:
        """The measure over all clusters, of each column."""
        return np.asarray(amount.sum(axis=0) / self.weight.sum())


def _edits(rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], _Compared]]:
    before = rows.filter(set="none").sort("cluster")
    edited = rows.filter(pl.col("set") != "none")
    for key, some in edited.partition_by(_EDIT, as_dict=True, maintain_order=True).items():
        is_random = pl.col("set") != pl.col("target")
        own, random = (
            part.sort("draw", "cluster")["amount"].to_numpy().reshape(-1, before.height).T
            for part in (some.filter(~is_random), some.filter(is_random))
        )
        edit = dict(zip(_EDIT, key, strict=True))
        yield edit, _Compared(before["weight"].to_numpy(), before["amount"].to_numpy(), own, random)


def _numbers(found: _Compared, measure: Measure, scope: str, config: AnalyzeConfig, seed: int) -> dict[str, Any]:
    clusters = len(found.weight)
    weights = draw_weights(clusters, config.bootstrap, seed)
    own, before = found.own.mean(axis=1), found.untouched
    whole = weights @ found.weight
    value, untouched = float(found.ratios(own)), float(found.ratios(before))
    low, high = _bounds((weights @ own) / whole, clusters, config)
    if measure.is_share:
        low, high = wilson(value * clusters, clusters, config.confidence)
    less, more = _bounds((weights @ (own - before)) / whole, clusters, config)
    return (
        {"draws": found.own.shape[1], "control_draws": found.random.shape[1], "questions": clusters}
        | {"untouched": measure.told(untouched), "value": measure.told(value)}
        | {"low": measure.told(low), "high": measure.told(high)}
        | {"difference": value - untouched, "difference_low": less, "difference_high": more}
        | (_beside_random(found, weights, measure, scope, config, seed) if found.random.size else {})
    )


def _beside_random(
    found: _Compared, weights: np.ndarray, measure: Measure, scope: str, config: AnalyzeConfig, seed: int
) -> dict[str, float]:
    own, draws = found.own.mean(axis=1), found.ratios(found.random)
    value = float(found.ratios(own))
    tail = (1 - config.confidence) / 2
    ends = (tail, 1 - tail) if len(draws) >= _MANY_DRAWS else (0, 1)
    low, high = np.quantile(draws, ends)
    of_draws = draw_weights(len(draws), config.bootstrap, seed + 1) / len(draws)
    drawn = ((weights @ found.random) * of_draws).sum(axis=1)
    less, more = _bounds((weights @ own - drawn) / (weights @ found.weight), len(weights.T), config)
    return {
        "random": measure.told(float(draws.mean())),
        "random_low": measure.told(float(low)),
        "random_high": measure.told(float(high)),
        "excess": value - float(draws.mean()),
        "excess_low": less,
        "excess_high": more,
        "p_value": _p_value(value, draws, -measure.harm if scope == "rest" else measure.harm),
    }


def _p_value(value: float, draws: Float64[np.ndarray, " R"], harm: int) -> float:
    """The share of draws as far in the direction of ``harm`` as ``value``, that among them; far from the middle of all,
    where harm has no direction."""
    if harm == 0:
        middle = np.median([*draws, value])
        return permutation_p_value(-abs(value - middle), -np.abs(draws - middle))
    return permutation_p_value(-harm * value, -harm * draws)


def _bounds(samples: Float64[np.ndarray, " B"], clusters: int, config: AnalyzeConfig) -> tuple[float, float]:
    low, high = interval(samples, clusters, config.confidence)
    return float(low), float(high)


def _corrected(frame: pl.DataFrame) -> pl.DataFrame:
    """With ``q_value``, corrected over the targets."""
    over = ["scope", "kind", "dose", "measure"]
    parts = [
        part.with_columns(
            q_value=pl.Series(false_discovery(part["p_value"].fill_null(float("nan")).to_numpy()), dtype=pl.Float64)
        )
        for part in frame.with_row_index("place").partition_by(over, maintain_order=True)
    ]
    if not parts:
        return frame.with_columns(q_value=pl.lit(None, pl.Float64))
    return pl.concat(parts).sort("place").drop("place").with_columns(pl.col("q_value").fill_nan(None))
