"""Random neuron sets that are like a given one in all that is known of them but their tokens.

Of each layer a random set has exactly as many neurons as its target has. Within the layer each member is drawn from the
neurons that are nearest to one of the target in length of value vector, size of score, and activity: in the logarithms
of the three, each in units of its standard deviation among the layer's discovered neurons. A neuron is drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

__all__ = ["COVARIATES", "Matcher", "NotEnough", "balance"]

#: What random sets match beside layers, and the column that it is computed from.
COVARIATES = ("value_norm", "mean_score", "activity")
#: A member is drawn from so many nearest neurons: few enough to be alike, enough for draws to differ.
_NEAREST = 10

_MEMBER = ["layer", "neuron"]


@dataclass(frozen=True, slots=True)
class NotEnough:
    """A layer in which fewer neurons are left to draw from than the target has."""

    layer: int
    members: int
    others: int


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer of a target: for each of its ``n`` members the ``P`` candidates, nearest first."""

    candidates: pl.DataFrame
    nearest: Int64[np.ndarray, "n P"]


class Matcher:
    """Draws random sets for one target."""

    def __init__(self, target: pl.DataFrame, neurons: pl.DataFrame, excluded: pl.DataFrame) -> None:
        """
        Args:
            target: layer, neuron; each among ``neurons``.
            neurons: layer, neuron and `COVARIATES` of all discovered neurons. ``activity`` counts the steps at which a
                neuron is active; ``mean_score`` is the mean size of its score there, null for one that never is.
            excluded: layer, neuron of those that are never drawn, beside the target itself.
        """
        self.target = target.select(_MEMBER).unique().sort(_MEMBER)
        self.standard = standardised(neurons.join(target.select("layer").unique(), on="layer", how="semi"))
        taken = pl.concat([self.target, excluded.select(_MEMBER)]).unique()
        candidates = self.standard.filter(pl.col("activity") > 0).join(taken, on=_MEMBER, how="anti")
        members = self.standard.join(self.target, on=_MEMBER, how="semi")
        self._layers = [
            _layer(some, candidates.filter(layer=number[0]))
            for number, some in members.partition_by("layer", as_dict=True, maintain_order=True).items()
        ]

    @property
    def shortages(self) -> list[NotEnough]:
        """Layers too small for a random set. There is none then: a smaller one would be an easier comparison."""
        sizes = self.target.group_by("layer").len().sort("layer").rows()
        return [
            NotEnough(number, size, layer.candidates.height)
            for (number, size), layer in zip(sizes, self._layers, strict=True)
            if size > layer.candidates.height
        ]

    def draw(self, seed: Sequence[int]) -> pl.DataFrame:
        """layer, neuron of one random set; not to be called where there are `shortages`."""
        rng = np.random.default_rng(seed)
        return pl.concat([layer.candidates[np.sort(_draw(layer.nearest, rng))] for layer in self._layers])


def standardised(neurons: pl.DataFrame) -> pl.DataFrame:
    """``neurons`` in order, with ``z_`` columns: the logarithm of each covariate, centred and scaled by layer.

    A neuron without a score, since it was never active, counts as having the smallest one of its layer.
    """
    scores = pl.col("mean_score").abs()
    logs = {
        "value_norm": pl.col("value_norm").cast(pl.Float64).log(),
        "mean_score": pl.when(scores > 0).then(scores).cast(pl.Float64).log(),
        "activity": pl.col("activity").cast(pl.Float64).log1p(),
    }
    known = neurons.sort(_MEMBER).with_columns(log.alias(f"z_{name}") for name, log in logs.items())
    columns = [f"z_{name}" for name in COVARIATES]
    least = (pl.col(name).min().over("layer") for name in columns)
    filled = known.with_columns(
        pl.col(name).fill_null(low).fill_null(0) for name, low in zip(columns, least, strict=True)
    )
    return filled.with_columns(
        ((pl.col(name) - pl.col(name).mean().over("layer")) / pl.col(name).std(ddof=0).over("layer"))
        .fill_nan(0)
        .fill_null(0)
        .alias(name)
        for name in columns
    )


def _layer(members: pl.DataFrame, candidates: pl.DataFrame) -> _Layer:
    own, other = (frame.select(f"z_{name}" for name in COVARIATES).to_numpy() for frame in (members, candidates))
    distance = _distances(own, other)
    return _Layer(candidates.select(_MEMBER), np.argsort(distance, axis=1, kind="stable"))


def _distances(own: Float64[np.ndarray, "n C"], other: Float64[np.ndarray, "P C"]) -> Float64[np.ndarray, "n P"]:
    squares = np.zeros((len(own), len(other)))
    for a, b in zip(own.T, other.T, strict=True):
        squares += (a[:, None] - b) ** 2
    return squares


def _draw(nearest: Int64[np.ndarray, "n P"], rng: np.random.Generator) -> list[int]:
    """A candidate for each member, the members in random order, since what one takes is gone for the next."""
    free = np.ones(nearest.shape[1], dtype=bool)
    drawn = []
    for member in rng.permutation(len(nearest)):
        order = nearest[member]
        close = order[free[order]][:_NEAREST]
        chosen = int(rng.choice(close))
        free[chosen] = False
        drawn.append(chosen)
    return drawn


def balance(matcher: Matcher, draws: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """How alike a target and its random sets are: one row per covariate, and one for the layer.

    ``target_mean`` and ``random_mean`` are plain means. ``standardised_difference`` is the difference between the mean
    logarithms in units of the standard deviation within a layer, the scale that sets are matched on; of layers it is
    zero, since they are matched exactly.
    """
    standard = matcher.standard
    own = standard.join(matcher.target, on=_MEMBER, how="semi")
    random = pl.concat([draw.join(standard, on=_MEMBER) for draw in draws]) if draws else None
    rows = [_compared(name, own, random) | {"random_sets": len(draws)} for name in (*COVARIATES, "layer")]
    return pl.DataFrame(rows, schema=_BALANCE)


def _compared(name: str, own: pl.DataFrame, random: pl.DataFrame | None) -> dict[str, str | float | None]:
    row: dict[str, str | float | None] = {"covariate": name, "target_mean": _mean(own, name)}
    if random is None:
        return row
    scale = "layer" if name == "layer" else f"z_{name}"
    difference = _mean(own, scale) - _mean(random, scale)
    return row | {"random_mean": _mean(random, name), "standardised_difference": difference}


def _mean(frame: pl.DataFrame, column: str) -> float:
    values = frame[column].cast(pl.Float64).drop_nulls()
    return float(values.to_numpy().mean()) if len(values) else float("nan")


_BALANCE = {
    "covariate": pl.String, "target_mean": pl.Float64, "random_mean": pl.Float64,
    "standardised_difference": pl.Float64, "random_sets": pl.Int64,
}  # fmt: skip
