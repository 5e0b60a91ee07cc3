"""What is measured of a model under an edit. A new measure is an entry in `MEASURES`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

import polars as pl

__all__ = ["MEASURES", "Measure", "amounts", "values_by_draw"]

_CONDITION = ["target", "scope", "kind", "dose", "set", "draw"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A ratio ``sum(amount) / sum(weight)`` over the rows of a condition."""

    name: str
    table: str
    """``interventions`` or ``specificity``."""
    cluster: str
    """The column that tells clusters apart."""
    rows: pl.Expr
    """Which rows count."""
    amount: pl.Expr
    weight: pl.Expr
    harm: int
    """-1 where less is worse, 1 where more is, 0 where either may be."""
    is_share: bool = False
    is_log: bool = False
    """Whether the ratio is the logarithm of what is told."""

    def told(self, ratio: float) -> float:
        """The measure from the ratio."""
        return exp(ratio) if self.is_log else ratio


_EVERY, _ONE = pl.lit(value=True), pl.lit(1.0)
_ANSWERED = pl.col("answer").is_not_null()

MEASURES: tuple[Measure, ...] = (
    Measure("accuracy", "interventions", "question_id", _EVERY, pl.col("correct"), _ONE, -1, is_share=True),
    Measure("answered", "interventions", "question_id", _EVERY, _ANSWERED, _ONE, -1, is_share=True),
    Measure("tokens", "interventions", "question_id", _EVERY, pl.col("tokens"), _ONE, 0),
    Measure("perplexity", "specificity", "item", pl.col("measure") == "text", -pl.col("log_prob"), pl.col("tokens"), 1,
            is_log=True),
    Measure("questions", "specificity", "item", pl.col("measure") == "questions", pl.col("correct"), _ONE, -1,
            is_share=True),
)  # fmt: skip


def amounts(table: pl.DataFrame, measure: Measure) -> pl.DataFrame:
    """target, scope, kind, dose, set, draw, cluster, amount and weight of every row that counts."""
    return table.filter(measure.rows).select(
        *_CONDITION,
        pl.col(measure.cluster).alias("cluster"),
        measure.amount.cast(pl.Float64).alias("amount"),
        measure.weight.cast(pl.Float64).alias("weight"),
    )


def values_by_draw(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per target, scope, kind, dose, set and draw, and one for the untouched model: the value of each measure,
    null where it was not taken."""
    found = tables["interventions"].select(_CONDITION).unique(maintain_order=True)
    for measure in MEASURES:
        if measure.table not in tables:
            found = found.with_columns(pl.lit(None, pl.Float64).alias(measure.name))
            continue
        ratio = pl.col("amount").sum() / pl.col("weight").sum()
        value = (ratio.exp() if measure.is_log else ratio).alias(measure.name)
        some = amounts(tables[measure.table], measure).group_by(_CONDITION).agg(value)
        found = found.join(some, on=_CONDITION, how="left", nulls_equal=True, maintain_order="left")
    return found
