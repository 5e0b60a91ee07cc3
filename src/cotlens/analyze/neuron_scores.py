"""What each neuron scored wherever it was active, added up part by part, so that memory does not grow with the run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

__all__ = ["add_scores", "covariates", "score_sums"]


def score_sums(activations: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """layer, neuron, hits (steps at which it is among the top-K), and the sums of its ``score`` and of the ``size`` of
    that, whatever its sign."""
    return (
        activations.lazy()
        .select("layer", "neuron", "score")
        .explode("neuron", "score")
        .with_columns(pl.col("score").cast(pl.Float64))
        .group_by("layer", "neuron")
        .agg(hits=pl.len(), score=pl.col("score").sum(), size=pl.col("score").abs().sum())
        .sort("layer", "neuron")
        .collect()
    )


def add_scores(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The sums over several parts."""
    return (
        pl.concat(parts).group_by("layer", "neuron").agg(pl.col("hits", "score", "size").sum()).sort("layer", "neuron")
    )


def covariates(neurons: pl.DataFrame, activations: Iterable[Path]) -> pl.DataFrame:
    """layer, neuron, value_norm, mean_score and activity of every discovered neuron (see `cotlens.analyze.matching`).

    Args:
        neurons: layer, neuron, hits, value_norm.
        activations: files of a run.
    """
    sums = add_scores(score_sums(pl.scan_parquet(part)) for part in activations)
    return (
        neurons.filter(pl.col("hits") > 0)
        .select("layer", "neuron", pl.col("value_norm").cast(pl.Float64))
        .join(sums, on=["layer", "neuron"])
        .select("layer", "neuron", "value_norm", (pl.col("size") / pl.col("hits")).alias("mean_score"),
                pl.col("hits").alias("activity"))
        .sort("layer", "neuron")
    )  # fmt: skip
