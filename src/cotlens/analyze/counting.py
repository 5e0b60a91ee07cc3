"""Counting which neurons of the sets are active, part by part, so that memory does not grow with the run.

A step's neuron counts for a set if it is among the top-K of its layer with the sign that it is a member with.

Shapes: ``Q`` questions of a variant, ``G`` roles, ``T`` steps, ``L`` layers, ``S`` columns (a set and draw each), ``U``
signed neurons, ``E`` entries: active neurons of single steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32, Float64, Int32, Int64

from cotlens.analyze.entries import add_up, distinct, find_entries
from cotlens.analyze.sets import SetIndex
from cotlens.analyze.step_roles import ROLES, TOKENS

__all__ = ["Counts", "count_activity"]

#: Rows of activations (a step and layer each) looked at at once.
_AT_ONCE = 60_000

Count = Int64[np.ndarray, "..."]


@dataclass(slots=True)
class Counts:
    """What is active under one variant."""

    questions: list[str]
    steps: Count
    """``[2, Q, G]``: recorded steps by question and role, of the token predicted and of the token read."""
    by_question: Count
    """``[2, Q, G, S]``: active neuron-steps."""
    any_by_role: Count
    """``[2, G, S]``: steps with any active neuron."""
    any_by_layer: Count
    """``[L, G, S]``: the same by layer and role of the token predicted."""
    any_by_step: Count
    """``[T, S]``."""
    neurons: Count
    """``[2, G, U]``: how often each signed neuron is active, by role."""
    scores: Float64[np.ndarray, "2 G U"]
    """Sum of its signed scores ``m ||v||``."""
    neurons_by_step: Int32[np.ndarray, "T U"]
    """``[T, U]``."""
    scores_by_step: Float32[np.ndarray, "T U"]

    reached: Count
    """``[T]``: how many completions have each step."""


def count_activity(
    parts: Sequence[Path], variant: str, index: SetIndex, roles: pl.DataFrame | None, n_layers: int
) -> Counts:
    """Count one variant.

    Args:
        parts: files of activations; those of other variants are skipped.
        variant: the one that counts.
        index: the sets.
        roles: what `stored_roles` gives, one row per step of each question; without it every token is ``text``.
        n_layers: of the model.
    """
    rows = pl.scan_parquet(list(parts)).filter(pl.col("variant") == variant)
    recorded = rows.filter(pl.col("layer") == 0).select("question_id", "step").collect()
    recorded = _with_roles(recorded, roles, variant)
    questions = sorted(recorded["question_id"].unique().to_list())
    counts = _empty(questions, int(recorded["step"].to_numpy().max()) + 1 if recorded.height else 0, index, n_layers)
    number = {question: place for place, question in enumerate(questions)}
    place = recorded["question_id"].replace_strict(number, return_dtype=pl.Int64).to_numpy()
    roles_of = np.full((len(TOKENS), len(questions), len(counts.reached)), -1, dtype=np.int64)
    for kind, name in enumerate(TOKENS):
        roles_of[kind, place, recorded["step"].to_numpy()] = recorded[name].to_numpy()
        np.add.at(counts.steps[kind], (place, recorded[name].to_numpy()), 1)
    np.add.at(counts.reached, recorded["step"].to_numpy(), 1)
    for part in parts:
        for chunk in _chunks(part, variant):
            _add(counts, chunk, number, roles_of, index)
    return counts


def _with_roles(recorded: pl.DataFrame, roles: pl.DataFrame | None, variant: str) -> pl.DataFrame:
    """question_id, step and a role for each of `TOKENS`; what is not known is ``text``."""
    text = ROLES.index("text")
    if roles is None:
        return recorded.with_columns(pl.lit(text, pl.Int8).alias(name) for name in TOKENS)
    own = roles.filter(variant=variant).drop("variant")
    return recorded.join(own, on=["question_id", "step"], how="left").with_columns(
        pl.col(name).fill_null(text) for name in TOKENS
    )


def _empty(questions: list[str], steps: int, index: SetIndex, n_layers: int) -> Counts:
    kinds, groups = len(TOKENS), len(ROLES)
    columns, signed = index.columns.height, 2 * index.neurons.height

    def zeros(*shape: int) -> Count:
        return np.zeros(shape, dtype=np.int64)

    return Counts(
        questions=questions,
        steps=zeros(kinds, len(questions), groups),
        by_question=zeros(kinds, len(questions), groups, columns),
        any_by_role=zeros(kinds, groups, columns),
        any_by_layer=zeros(n_layers, groups, columns),
        any_by_step=zeros(steps, columns),
        neurons=zeros(kinds, groups, signed),
        scores=np.zeros((kinds, groups, signed)),
        neurons_by_step=np.zeros((steps, signed), dtype=np.int32),
        scores_by_step=np.zeros((steps, signed), dtype=np.float32),
        reached=zeros(steps),
    )


def _chunks(part: Path, variant: str) -> Iterator[pl.DataFrame]:
    """The rows of a part, a bounded number at a time, cut between questions where that is possible."""
    names = ["question_id", "step", "layer", "neuron", "coefficient"]
    rows = pl.read_parquet(part, columns=["variant", *names]).filter(variant=variant).select(names)
    gathered: list[pl.DataFrame] = []
    size = 0
    for question in rows.partition_by("question_id", maintain_order=True):
        if gathered and size + question.height > _AT_ONCE:
            yield pl.concat(gathered)
            gathered, size = [], 0
        gathered.append(question)
        size += question.height
    if gathered:
        yield pl.concat(gathered)


def _add(counts: Counts, chunk: pl.DataFrame, number: dict[str, int], roles_of: Count, index: SetIndex) -> None:
    found = find_entries(chunk, number, index)
    add_up(counts.neurons_by_step, (found.step, found.signed))
    add_up(counts.scores_by_step, (found.step, found.signed), found.score)
    # One row per pair of an active neuron and a set that it is a member of.
    times = index.starts[found.signed + 1] - index.starts[found.signed]
    entry = np.repeat(np.arange(len(times)), times)
    within = np.arange(len(entry)) - np.repeat(np.cumsum(times) - times, times)
    column = index.member_column[index.starts[found.signed[entry]] + within].astype(np.int64)
    question, step = found.question[entry], found.step[entry]
    for kind in range(len(TOKENS)):
        role = roles_of[kind, found.question, found.step]
        add_up(counts.neurons[kind], (role, found.signed))
        add_up(counts.scores[kind], (role, found.signed), found.score)
        add_up(counts.by_question[kind], (question, role[entry], column))
    _add_any(counts, roles_of, question, step, found.layer[entry], column)


def _add_any(
    counts: Counts, roles_of: Count, question: np.ndarray, step: np.ndarray, layer: np.ndarray, column: np.ndarray
) -> None:
    """Steps, and steps of a layer, at which anything of a column is active: each counts once."""
    if not len(column):
        return
    n_layers, _, columns = counts.any_by_layer.shape
    steps = len(counts.reached)
    first = int(question.min())
    shape = (int(question.max()) - first + 1, steps, n_layers, columns)
    unique = distinct(np.ravel_multi_index((question - first, step, layer, column), shape), int(np.prod(shape)))
    q, t, at, s = np.unravel_index(unique, shape)
    add_up(counts.any_by_layer, (at, roles_of[0, q + first, t], s))
    whole = (shape[0], steps, columns)
    q, t, s = np.unravel_index(distinct(np.ravel_multi_index((q, t, s), whole), int(np.prod(whole))), whole)
    add_up(counts.any_by_step, (t, s))
    for kind in range(len(TOKENS)):
        add_up(counts.any_by_role[kind], (roles_of[kind, q + first, t], s))
