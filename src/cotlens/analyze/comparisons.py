"""Variants compared on the same questions: what differs because the texts differ, and what because the prompts do.

Each variant stands against one of reference. Three contrasts of a concept's frequency:

- ``free``: each variant's own completions.
- ``forced``: the very same text, the reference's completions, read after each variant's prompt.
- ``text``: ``free`` less ``forced``, what is left to the texts' being different.

Questions are the clusters throughout, and the same resampled questions serve both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cotlens.analyze.bootstrap import draw_weights, interval, ratio, resampled_ratios
from cotlens.analyze.counting import Counts
from cotlens.analyze.permutation import false_discovery, paired_contributions, sign_flip_p_values
from cotlens.analyze.sets import SetIndex
from cotlens.analyze.step_roles import ROLES
from cotlens.config import AnalyzeConfig

__all__ = ["compare_frequencies"]

_SCHEMA: dict[str, Any] = {
    "contrast": pl.String, "role": pl.String, "variant": pl.String, "reference": pl.String, "concept": pl.String,
    "questions": pl.Int64, "frequency": pl.Float64, "reference_frequency": pl.Float64, "difference": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "p_value": pl.Float64, "q_value": pl.Float64,
    "random_difference": pl.Float64, "random_low": pl.Float64, "random_high": pl.Float64, "p_random": pl.Float64,
}  # fmt: skip

_Paths = Mapping[str, Counts]


def compare_frequencies(
    free: _Paths, forced: _Paths, reference: str, index: SetIndex, config: AnalyzeConfig, seed: int
) -> pl.DataFrame:
    """One row per contrast, role (``all`` first), variant and concept.

    ``p_value`` is of the sign-flip test over questions, ``q_value`` the same after Benjamini and Hochberg's correction
    over the variants and concepts of one contrast and role. ``random_difference`` is the mean of the same difference
    over the concept's matched random sets, with the band of the draws; ``p_random`` the share of draws whose
    difference is as far from zero, the concept's own counted among them (two-sided).

    Args:
        free: counts of each variant's own completions.
        forced: counts of the reference's completions under each variant's prompt; may be empty.
        reference: the variant that the others stand against.
        index: the sets.
        config: level, resamples and permutations.
        seed: of both.
    """
    rows: list[dict[str, Any]] = []
    for variant in sorted(free):
        if variant == reference:
            continue
        pairs = {"free": _pair(free, free, variant, reference)}
        if variant in forced:
            pairs["forced"] = _pair(forced, forced if reference in forced else free, variant, reference)
            pairs = {name: _common(pair, list(pairs.values())) for name, pair in pairs.items()}
        sides = {name: _Side.of(pair, index, config, seed) for name, pair in pairs.items()}
        if "forced" in sides:
            sides["text"] = sides["free"].less(sides["forced"])
        for contrast, side in sides.items():
            rows += _rows(contrast, side, (variant, reference), index, config, seed)
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    return _corrected(frame).sort(
        pl.col("contrast").replace_strict({"free": 0, "forced": 1, "text": 2}, return_dtype=pl.Int8),
        pl.col("role").replace_strict({"all": -1} | dict(zip(ROLES, range(len(ROLES)), strict=True))),
        "variant",
        "concept",
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """Active neuron-steps ``[Q, C, S]`` and steps ``[Q, C]`` of both on the same questions; cells are roles."""

    questions: list[str]
    active: np.ndarray
    steps: np.ndarray
    other_active: np.ndarray
    other_steps: np.ndarray

    def only(self, questions: list[str]) -> _Pair:
        place = [self.questions.index(question) for question in questions]
        tables = (self.active, self.steps, self.other_active, self.other_steps)
        return _Pair(questions, *(table[place] for table in tables))


def _pair(left: _Paths, right: _Paths, variant: str, reference: str) -> _Pair:
    questions = sorted(set(left[variant].questions) & set(right[reference].questions))
    tables = []
    for counts in (left[variant], right[reference]):
        number = {question: place for place, question in enumerate(counts.questions)}
        place = [number[question] for question in questions]
        active, steps = counts.by_question[0][place], counts.steps[0][place]
        tables += [_with_total(active.astype(np.float64)), _with_total(steps.astype(np.float64))]
    return _Pair(questions, *tables)


def _with_total(table: np.ndarray) -> np.ndarray:
    """All roles together before each of them, along the second axis."""
    return np.concatenate([table.sum(axis=1, keepdims=True), table], axis=1)


def _common(pair: _Pair, pairs: list[_Pair]) -> _Pair:
    shared = set.intersection(*(set(other.questions) for other in pairs))
    return pair.only([question for question in pair.questions if question in shared])


@dataclass(frozen=True, slots=True)
class _Side:
    """A contrast, ready for intervals and tests: by role ``C`` and column ``S``."""

    value: np.ndarray
    other: np.ndarray
    contributions: np.ndarray
    """``[Q, C, S]``; their mean is the difference."""
    samples: np.ndarray
    """``[R, C, s]``: the difference in each resample, for the columns of the concepts alone."""

    @classmethod
    def of(cls, pair: _Pair, index: SetIndex, config: AnalyzeConfig, seed: int) -> _Side:
        chances, other_chances = (steps[:, :, None] * index.sizes for steps in (pair.steps, pair.other_steps))
        weights = draw_weights(len(pair.questions), config.bootstrap, seed)
        own = _own_columns(index)
        samples = resampled_ratios(weights, pair.active[:, :, own], chances[:, :, own]) - resampled_ratios(
            weights, pair.other_active[:, :, own], other_chances[:, :, own]
        )
        return cls(
            value=ratio(pair.active.sum(axis=0), chances.sum(axis=0)),
            other=ratio(pair.other_active.sum(axis=0), other_chances.sum(axis=0)),
            contributions=paired_contributions(pair.active, chances, pair.other_active, other_chances),
            samples=samples,
        )

    def less(self, other: _Side) -> _Side:
        """The difference of two differences on the same questions."""
        nothing = np.full(self.value.shape, np.nan)
        contributions = self.contributions - other.contributions
        return _Side(nothing, nothing, contributions, self.samples - other.samples)


def _rows(
    contrast: str, side: _Side, names: tuple[str, str], index: SetIndex, config: AnalyzeConfig, seed: int
) -> list[dict[str, Any]]:
    questions = len(side.contributions)
    if questions == 0:
        return []
    difference = side.contributions.mean(axis=0)
    own = _own_columns(index)
    p_values = sign_flip_p_values(side.contributions[:, :, own], config.permutations, seed)
    low, high = interval(side.samples, questions, config.confidence)
    random = {concept: columns for concept, kind, columns in index.groups() if kind == "random"}
    return [
        {
            "contrast": contrast, "role": role, "variant": names[0], "reference": names[1], "concept": concept,
            "questions": questions, "frequency": side.value[place, at], "reference_frequency": side.other[place, at],
            "difference": difference[place, at], "low": low[place, n], "high": high[place, n],
            "p_value": p_values[place, n], "q_value": np.nan,
        }
        | _beside_random(difference[place, at], difference[place, random.get(concept, [])], config.confidence)
        for place, role in enumerate(("all", *ROLES))
        for n, (concept, at) in enumerate(zip(index.concepts(), own, strict=True))
        if not np.isnan(difference[place, at])
    ]  # fmt: skip


def _own_columns(index: SetIndex) -> list[int]:
    """The columns of the concepts themselves."""
    return [int(columns[0]) for _, kind, columns in index.groups() if kind == "concept"]


def _beside_random(difference: float, draws: np.ndarray, confidence: float) -> dict[str, float]:
    names = ("random_difference", "random_low", "random_high", "p_random")
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return dict.fromkeys(names, float("nan"))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    # How far a set lies from the middle of the random ones: they, too, move when a prompt changes.
    middle = np.median(draws)
    as_far = np.count_nonzero(np.abs(draws - middle) >= abs(difference - middle) - 1e-12)
    values = (float(draws.mean()), float(low), float(high), (1 + as_far) / (1 + len(draws)))
    return dict(zip(names, values, strict=True))


def _corrected(frame: pl.DataFrame) -> pl.DataFrame:
    """With ``q_value``, corrected over the variants and concepts of each contrast and role."""
    if frame.is_empty():
        return frame
    parts = frame.partition_by("contrast", "role", maintain_order=True)
    return pl.concat(
        part.with_columns(q_value=pl.Series(false_discovery(part["p_value"].to_numpy()), dtype=pl.Float64))
        for part in parts
    )
