"""Does activity go along with right answers, within a variant?

Two answers: the area under the curve of a concept's frequency in a completion as a sign of a right answer, and the
slope of being right on that frequency. Over all variants together only completions of the same variant are compared,
and a question, which stands there once for each variant, is a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cotlens.analyze.bootstrap import draw_weights, interval, ratio
from cotlens.analyze.counting import Counts
from cotlens.analyze.discrimination import auc_parts, pooled_auc
from cotlens.analyze.permutation import false_discovery
from cotlens.analyze.regression import Slopes, cluster_slopes
from cotlens.analyze.sets import SetIndex
from cotlens.config import AnalyzeConfig

__all__ = ["EVERY_VARIANT", "predict_correctness"]

#: Stands for all variants taken together.
EVERY_VARIANT = "all"

#: Of right and of wrong answers there must be so many for an interval of the area under the curve.
_LEAST_OF_EACH = 5

_SLOPES = ("slope", "slope_low", "slope_high", "p_value")
_ADJUSTED = ("adjusted_slope", "adjusted_low", "adjusted_high", "adjusted_p_value")
_SCHEMA: dict[str, Any] = {
    "variant": pl.String, "concept": pl.String, "questions": pl.Int64, "completions": pl.Int64, "correct": pl.Int64,
    "auc": pl.Float64, "auc_low": pl.Float64, "auc_high": pl.Float64, "random_auc": pl.Float64,
    "random_auc_low": pl.Float64, "random_auc_high": pl.Float64,
    **dict.fromkeys((*_SLOPES, "q_value", *_ADJUSTED), pl.Float64),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Stratum:
    """The completions of one variant: frequency ``[n, S]`` in each, whether it is right, its length, its question."""

    frequency: np.ndarray
    correct: np.ndarray
    steps: np.ndarray
    question: np.ndarray


def predict_correctness(
    counts: Mapping[str, Counts], completions: pl.DataFrame, index: SetIndex, config: AnalyzeConfig, seed: int
) -> pl.DataFrame:
    """One row per variant, and one for `EVERY_VARIANT`, and concept.

    ``auc`` with a bootstrap interval over questions (none for fewer than five right or wrong answers, whose resamples
    say too little), beside the mean and band of the random sets. ``slope`` is the
    change in the probability of a right answer per standard deviation of the frequency within a variant; the
    ``adjusted`` one holds the number of steps fixed, since longer answers differ in both. ``q_value`` corrects
    ``p_value`` over the concepts and variants, those of all variants together apart.
    """
    questions = sorted(completions["question_id"].unique().to_list())
    strata = {variant: _stratum(count, variant, completions, questions, index) for variant, count in counts.items()}
    weights = draw_weights(len(questions), config.bootstrap, seed)
    rows = [row for variant in sorted(strata) for row in _rows(variant, [strata[variant]], index, weights, config)]
    if len(strata) > 1:
        rows += _rows(EVERY_VARIANT, list(strata.values()), index, weights, config)
    return _corrected(pl.DataFrame(rows, schema=_SCHEMA))


def _stratum(count: Counts, variant: str, completions: pl.DataFrame, questions: list[str], index: SetIndex) -> _Stratum:
    graded = dict(completions.filter(variant=variant).select("question_id", "correct").iter_rows())
    number = {question: place for place, question in enumerate(questions)}
    steps = count.steps[0].sum(axis=1)
    return _Stratum(
        frequency=ratio(count.by_question[0].sum(axis=1), steps[:, None] * index.sizes),
        correct=np.array([graded[question] for question in count.questions], dtype=bool),
        steps=steps.astype(np.float64),
        question=np.array([number[question] for question in count.questions], dtype=np.int64),
    )


def _rows(
    variant: str, strata: list[_Stratum], index: SetIndex, weights: np.ndarray, config: AnalyzeConfig
) -> list[dict[str, Any]]:
    groups = index.groups()
    own = [columns[0] for _, kind, columns in groups if kind == "concept"]
    random = {concept: columns for concept, kind, columns in groups if kind == "random"}
    slopes, adjusted = (_slopes(strata, own, config.confidence, with_steps) for with_steps in (False, True))
    asked = np.unique(np.concatenate([stratum.question for stratum in strata]))
    completions = sum(len(stratum.correct) for stratum in strata)
    right = sum(int(stratum.correct.sum()) for stratum in strata)
    counted = {
        "variant": variant, "questions": len(asked), "completions": completions, "correct": right,
    }  # fmt: skip
    enough = min(right, completions - right) >= _LEAST_OF_EACH
    rows = []
    for place, concept in enumerate(index.concepts()):
        low, high = (
            interval(_auc(strata, own[place], weights), len(asked), config.confidence) if enough else (np.nan, np.nan)
        )
        once = np.ones((1, weights.shape[1]))
        draws = np.array([_auc(strata, column, once)[0] for column in random.get(concept, [])])
        rows.append(
            counted
            | {"concept": concept, "auc": _auc(strata, own[place], once)[0], "auc_low": float(low)}
            | {"auc_high": float(high)}
            | _band(draws, config.confidence)
            | {name: float(values[place]) for name, values in zip(_SLOPES, slopes, strict=True)}
            | {name: float(values[place]) for name, values in zip(_ADJUSTED, adjusted, strict=True)}
        )
    return rows


def _auc(strata: list[_Stratum], column: int, weights: np.ndarray) -> np.ndarray:
    return pooled_auc([auc_parts(s.frequency[:, column], s.correct, weights[:, s.question]) for s in strata])


def _band(draws: np.ndarray, confidence: float) -> dict[str, float]:
    names = ("random_auc", "random_auc_low", "random_auc_high")
    known = draws[~np.isnan(draws)]
    if not len(known):
        return dict.fromkeys(names, float("nan"))
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return dict(zip(names, (float(known.mean()), float(low), float(high)), strict=True))


def _slopes(strata: list[_Stratum], columns: list[int], confidence: float, with_steps: bool) -> Slopes:
    """One slope per column, each variant with an intercept of its own."""
    used = [stratum for stratum in strata if len(stratum.correct)]
    sizes = [len(stratum.correct) for stratum in used]
    rows = sum(sizes)
    covariates = np.zeros((rows, len(used)))
    covariates[np.arange(rows), np.repeat(np.arange(len(used)), sizes)] = 1
    frequency = np.concatenate([stratum.frequency[:, columns] for stratum in used] or [np.zeros((0, len(columns)))])
    correct, steps, question = (
        np.concatenate([getattr(stratum, name) for stratum in used] or [np.zeros(0)])
        for name in ("correct", "steps", "question")
    )
    centred = frequency - covariates @ ratio(covariates.T @ frequency, covariates.sum(axis=0)[:, None])
    spread = np.sqrt((centred**2).sum(axis=0) / max(1, rows - len(used)))
    if with_steps:
        covariates = np.column_stack([covariates, steps])
    _, cluster = np.unique(question, return_inverse=True)
    return cluster_slopes(
        ratio(frequency, np.broadcast_to(spread, frequency.shape)) if rows else frequency,
        correct.astype(np.float64), covariates, cluster, confidence,
    )  # fmt: skip


def _corrected(frame: pl.DataFrame) -> pl.DataFrame:
    """With ``q_value`` over concepts and variants; all variants together are a family of their own."""
    together = (frame["variant"] == EVERY_VARIANT).to_numpy() if frame.height else np.zeros(0, dtype=bool)
    p_values, adjusted = frame["p_value"].to_numpy(), np.full(frame.height, np.nan)
    for family in (together, ~together):
        adjusted[family] = false_discovery(p_values[family])
    return frame.with_columns(q_value=pl.Series(adjusted, dtype=pl.Float64))
