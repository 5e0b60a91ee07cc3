"""How often the neurons of a concept are active, by variant, layer and step, beside random neurons.

A neuron that is labelled with a sign counts as active at a step if it is among the top-K of its layer with that
sign. The frequency of a set is its active neuron-steps over all its neuron-steps; questions are the clusters of its
bootstrap interval. The published conclusions rest on such counts, for which no code was published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cotlens.analyze.controls import draw_matched, signed_pool
from cotlens.analyze.statistics import cluster_bootstrap
from cotlens.config import AnalyzeConfig

__all__ = ["ALL", "NeuronSets", "active_steps", "frequencies", "frequencies_by", "make_sets"]

#: The union of all concepts.
ALL = "all"

_NEURON = ["layer", "neuron", "sign"]


@dataclass(frozen=True, slots=True)
class NeuronSets:
    """Which neurons are counted together. ``members`` has concept, set (``concept`` or ``random``), draw, neuron."""

    members: pl.DataFrame

    @property
    def neurons(self) -> pl.DataFrame:
        """Every neuron of any set, once."""
        return self.members.select(_NEURON).unique()


def make_sets(concepts: pl.DataFrame, neurons: pl.DataFrame, draws: int, seed: int) -> NeuronSets:
    """The neurons of every concept, of all together, and ``draws`` random sets matched to each."""
    pool = signed_pool(neurons, excluded=concepts)
    named = [(name[0], group) for name, group in concepts.partition_by("concept", as_dict=True).items()]
    targets = [*sorted(named), (ALL, concepts)]
    frames = []
    for place, (concept, group) in enumerate(targets):
        members = group.select(_NEURON).unique().sort(_NEURON)
        frames.append(_as_set(members, concept, "concept", 0))
        frames += [
            _as_set(draw_matched(pool, members, [seed, place, draw]), concept, "random", draw) for draw in range(draws)
        ]
    return NeuronSets(pl.concat(frames))


def active_steps(activations: pl.LazyFrame, sets: NeuronSets) -> pl.DataFrame:
    """One row per variant, question and step at which a neuron of any set is active with its sign."""
    return (
        activations.select("variant", "question_id", "step", "layer", "neuron", "coefficient")
        .explode("neuron", "coefficient")
        .with_columns(sign=pl.col("coefficient").sign().cast(pl.Int8))
        .join(sets.neurons.lazy(), on=_NEURON, how="semi")
        .select("variant", "question_id", "step", *_NEURON)
        .collect()
    )


def frequencies(
    active: pl.DataFrame, sets: NeuronSets, steps: pl.DataFrame, config: AnalyzeConfig, seed: int
) -> pl.DataFrame:
    """One row per variant, concept and set.

    Args:
        active: what `active_steps` gives.
        sets: the neurons of each concept and their random sets.
        steps: variant, question_id and the number of recorded ``steps`` of each completion.
        config: level and resamples of the intervals.
        seed: of the resampling.

    Returns:
        ``frequency`` with ``low`` and ``high``. For a concept these are a bootstrap interval over questions; for
        ``random``, ``frequency`` is the mean over the draws and the interval spans the draws.
    """
    counts = _count(active, sets, ["variant", "question_id"])
    sizes = _sizes(sets)
    rows = []
    for (variant,), questions in sorted(steps.partition_by("variant", as_dict=True).items()):
        for concept, kind, draws, size in sizes.iter_rows():
            chosen = counts.filter(variant=variant, concept=concept, set=kind)
            per_draw = [
                questions.select("question_id", "steps")
                .join(chosen.filter(draw=draw), on="question_id", how="left")
                .select(pl.col("active").fill_null(0).cast(pl.Float64), (pl.col("steps") * size).cast(pl.Float64))
                .to_numpy()
                for draw in range(draws)
            ]
            ratios = np.array([float(table[:, 0].sum() / table[:, 1].sum()) for table in per_draw if table[:, 1].sum()])
            if kind == "concept" and len(ratios):
                numerator, denominator = per_draw[0].T
                low, high = cluster_bootstrap(numerator, denominator, config.bootstrap, config.confidence, seed)
            else:
                low, high = _spread(ratios, config.confidence)
            mean = float(ratios.mean()) if len(ratios) else float("nan")
            rows.append((variant, concept, kind, round(size), draws, questions.height, mean, low, high))
    return pl.DataFrame(
        rows,
        schema={
            "variant": pl.String,
            "concept": pl.String,
            "set": pl.String,
            "neurons": pl.Int64,
            "draws": pl.Int64,
            "questions": pl.Int64,
            "frequency": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
        },
        orient="row",
    )


def frequencies_by(column: str, active: pl.DataFrame, sets: NeuronSets, opportunities: pl.DataFrame) -> pl.DataFrame:
    """Frequencies by ``layer`` or ``step``, the random draws pooled.

    ``opportunities`` has variant and ``steps``, the number of recorded (question, step) pairs, for each variant; and
    for each step, where ``column`` is ``step``.
    """
    counts = (
        _count(active, sets, ["variant", column])
        .group_by("variant", "concept", "set", column)
        .agg(pl.col("active").sum())
    )
    by_layer = ["layer"] if column == "layer" else []
    sizes = sets.members.group_by("concept", "set", *by_layer).agg(
        members=pl.len(), neurons=pl.len() / (pl.col("draw").max() + 1)
    )
    grid = opportunities.join(sizes, how="cross").join(counts, on=["variant", "concept", "set", column], how="left")
    return (
        grid.with_columns(frequency=pl.col("active").fill_null(0) / (pl.col("steps") * pl.col("members")))
        .select("variant", "concept", "set", column, "neurons", "steps", "frequency")
        .sort("variant", "concept", "set", column)
    )


def _as_set(members: pl.DataFrame, concept: str, kind: str, draw: int) -> pl.DataFrame:
    return members.select(
        pl.lit(concept).alias("concept"), pl.lit(kind).alias("set"), pl.lit(draw, pl.Int32).alias("draw"), *_NEURON
    )


def _count(active: pl.DataFrame, sets: NeuronSets, by: Sequence[str]) -> pl.DataFrame:
    """Active neuron-steps per set, draw and ``by``."""
    per_neuron = active.group_by(*dict.fromkeys([*by, *_NEURON])).agg(active=pl.len())
    joined = per_neuron.join(sets.members, on=_NEURON)
    return joined.group_by(*by, "concept", "set", "draw").agg(pl.col("active").sum())


def _sizes(sets: NeuronSets) -> pl.DataFrame:
    """Concept, set, number of draws, and neurons per draw."""
    return (
        sets.members.group_by("concept", "set")
        .agg(draws=pl.col("draw").max() + 1, members=pl.len())
        .select("concept", "set", "draws", size=pl.col("members") / pl.col("draws"))
        .sort("concept", "set")
    )


def _spread(values: np.ndarray, confidence: float) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
