"""What an intervention did to accuracy, beside its matched random controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cotlens.analyze.statistics import permutation_p_value, wilson
from cotlens.config import InterveneConfig

__all__ = ["Effect", "intervention_effects", "main_edit"]


@dataclass(frozen=True, slots=True)
class Effect:
    """Accuracy with one neuron set edited: the mean over draws, and each draw's own."""

    set: str
    draws: int
    questions: int
    accuracy: float
    low: float
    high: float
    answered: float
    by_draw: tuple[float, ...]


def intervention_effects(interventions: pl.DataFrame, confidence: float) -> tuple[list[Effect], float]:
    """Effects on ``none`` (untouched), ``reasoning`` and ``random`` sets, and the p-value of the reasoning set.

    The interval of ``none`` is Wilson's; that of a set with several draws spans from the lowest to the highest draw,
    which at so few draws is more honest than a quantile. The p-value counts the random draws whose accuracy is as
    low as the mean over the reasoning draws.
    """
    effects = []
    for name in ("none", "reasoning", "random"):
        rows = interventions.filter(set=name)
        if rows.is_empty():
            continue
        by_draw = rows.group_by("draw").agg(pl.col("correct").mean()).sort("draw")["correct"].to_numpy()
        questions = rows.filter(draw=0).height
        if len(by_draw) > 1:
            low, high = float(by_draw.min()), float(by_draw.max())
        else:
            low, high = wilson(int(rows["correct"].sum()), questions, confidence)
        effects.append(
            Effect(
                set=name,
                draws=len(by_draw),
                questions=questions,
                accuracy=float(by_draw.mean()),
                low=low,
                high=high,
                answered=float(rows["answer"].is_not_null().to_numpy().mean()),
                by_draw=tuple(map(float, by_draw)),
            )
        )
    found = {effect.set: effect for effect in effects}
    if "reasoning" not in found or "random" not in found:
        return effects, float("nan")
    return effects, permutation_p_value(found["reasoning"].accuracy, np.array(found["random"].by_draw))


def main_edit(interventions: pl.DataFrame, config: InterveneConfig) -> pl.DataFrame:
    """Of ``interventions`` the untouched answers, and those with the reasoning neurons edited in the first way that is
    asked for, and their random sets."""
    if "target" not in interventions.columns:  # made when there was one edit of one set
        return interventions
    first = config.edits[0] if config.edits else None
    edited = (
        pl.col("target").eq("reasoning") & pl.col("scope").eq("set")
        & pl.col("kind").eq(first.kind) & pl.col("dose").eq(first.doses[0])
        if first
        else pl.lit(value=False)
    )  # fmt: skip
    return interventions.filter((pl.col("set") == "none") | edited)
