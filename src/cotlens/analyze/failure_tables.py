"""How completions fail under each variant and intervention, and what shifts against a condition of reference."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from cotlens.analyze.bootstrap import draw_weights, interval
from cotlens.analyze.failures import CLASSES, classify
from cotlens.analyze.permutation import false_discovery, sign_flip_p_values
from cotlens.analyze.statistics import wilson
from cotlens.config import AnalyzeConfig

__all__ = ["EDIT", "UNTOUCHED", "completion_failures", "failure_shares", "intervention_failures"]

#: Columns that tell the conditions of an intervention apart, and what they are for the untouched model.
EDIT = ["target", "scope", "set", "kind", "dose"]
UNTOUCHED = (None, None, "none", "none", 0.0)

_FOUND: dict[str, Any] = {
    "class": pl.String, "equations": pl.Int32, "slips": pl.Int32, "right_if_executed": pl.Boolean,
}  # fmt: skip


def completion_failures(completions: pl.DataFrame) -> pl.DataFrame:
    """One row per variant and question: its class (`cotlens.analyze.failures`), and what its equations say."""
    return _classified(completions, ["variant", "question_id"], "answer_strict")


def intervention_failures(interventions: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """One row per edit, draw and question: its class, and what its equations say."""
    gold = completions.select("question_id", "gold").unique("question_id", maintain_order=True)
    return _classified(interventions.join(gold, on="question_id"), [*EDIT, "draw", "question_id"], "answer")


def _classified(rows: pl.DataFrame, keys: list[str], answer: str) -> pl.DataFrame:
    found = [
        classify(text, Decimal(gold), stated is not None, correct, reason)
        for text, gold, stated, correct, reason in rows.select("text", "gold", answer, "correct", "stop_reason").rows()
    ]
    columns = [(one.kind, one.equations, one.slips, one.right_if_executed) for one in found]
    return pl.concat([rows.select(keys), pl.DataFrame(columns, schema=_FOUND, orient="row")], how="horizontal")


def failure_shares(
    failures: pl.DataFrame, condition: list[str], reference: tuple[Any, ...], config: AnalyzeConfig, seed: int
) -> pl.DataFrame:
    """One row per condition and class that occurs: its share of the completions, and the shift against a reference.

    Several draws of one question count as their mean. ``low`` and ``high`` are Wilson's interval for a single draw, a
    bootstrap interval over questions for several; ``difference`` with its interval and p-value is paired by question,
    ``q_value`` corrected over all classes and conditions. Those of the reference itself are null.

    Args:
        failures: question_id, class, the columns ``condition``, and maybe ``draw``.
        condition: columns that tell conditions apart.
        reference: their values for the condition that the others stand against.
        config: level, resamples and permutations.
        seed: of both.
    """
    kinds = [kind for kind in CLASSES if kind in set(failures["class"])]
    tables = {
        key: _shares(group, kinds) for key, group in failures.partition_by(condition, as_dict=True).items()
    }  # question_id and one column per class
    rows = []
    for key, table in tables.items():
        is_key = (pl.col(name).eq_missing(pl.lit(value)) for name, value in zip(condition, key, strict=True))
        draws = failures.filter(pl.all_horizontal(is_key))
        single = draws.height == table.height
        shifts = (
            _shift(table, tables[reference], kinds, config, seed) if reference in tables and key != reference else None
        )
        shares = table.select(kinds).to_numpy()
        ends = _ends(shares, single, config, seed)
        for place, kind in enumerate(kinds):
            row = dict(zip(condition, key, strict=True)) | {"class": kind, "questions": table.height}
            row |= {"completions": draws.height, "share": shares[:, place].mean()}
            row |= {"low": float(ends[0][place]), "high": float(ends[1][place])}
            rows.append(row | ({} if shifts is None else {name: float(v[place]) for name, v in shifts.items()}))
    return _corrected(pl.DataFrame(rows, schema=_schema(failures, condition)))


def _schema(failures: pl.DataFrame, condition: list[str]) -> dict[str, Any]:
    numbers = ("share", "low", "high", "difference", "difference_low", "difference_high", "p_value")
    return (
        {name: failures.schema[name] for name in condition}
        | {"class": pl.String, "questions": pl.Int64, "completions": pl.Int64}
        | dict.fromkeys(numbers, pl.Float64)
    )


def _shares(group: pl.DataFrame, kinds: list[str]) -> pl.DataFrame:
    """Each question's share of each class over its draws."""
    return (group.group_by("question_id").agg((pl.col("class") == kind).mean().alias(kind) for kind in kinds)).sort(
        "question_id"
    )


def _ends(shares: np.ndarray, single: bool, config: AnalyzeConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    questions = len(shares)
    if single:
        bounds = [wilson(round(total), questions, config.confidence) for total in shares.sum(axis=0)]
        return np.array([low for low, _ in bounds]), np.array([high for _, high in bounds])
    weights = draw_weights(questions, config.bootstrap, seed)
    return interval(weights @ shares / questions, questions, config.confidence)


def _shift(
    table: pl.DataFrame, other: pl.DataFrame, kinds: list[str], config: AnalyzeConfig, seed: int
) -> dict[str, np.ndarray]:
    both = table.join(other, on="question_id", suffix="_before").sort("question_id")
    if both.is_empty():
        nothing = np.full(len(kinds), np.nan)
        return dict.fromkeys(("difference", "difference_low", "difference_high", "p_value"), nothing)
    difference = both.select(pl.col(kind) - pl.col(f"{kind}_before") for kind in kinds).to_numpy()
    weights = draw_weights(len(difference), config.bootstrap, seed)
    low, high = interval(weights @ difference / len(difference), len(difference), config.confidence)
    return {
        "difference": difference.mean(axis=0),
        "difference_low": low,
        "difference_high": high,
        "p_value": sign_flip_p_values(difference, config.permutations, seed),
    }


def _corrected(frame: pl.DataFrame) -> pl.DataFrame:
    p_values = frame["p_value"].fill_null(float("nan")).to_numpy()
    return frame.with_columns(q_value=pl.Series(false_discovery(p_values), dtype=pl.Float64).fill_nan(None))
