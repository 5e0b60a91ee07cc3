"""How many questions a model answers under each variant, and how variants differ on the same questions."""

from __future__ import annotations

from typing import Any

import polars as pl

from cotlens.analyze.bootstrap import draw_weights, interval
from cotlens.analyze.permutation import false_discovery, sign_flip_p_values
from cotlens.analyze.statistics import wilson
from cotlens.config import AnalyzeConfig

__all__ = ["accuracy_by_variant", "accuracy_differences"]

_DIFFERENCES: dict[str, Any] = {
    "variant": pl.String, "reference": pl.String, "questions": pl.Int64, "accuracy": pl.Float64,
    "reference_accuracy": pl.Float64, "only_variant": pl.Int64, "only_reference": pl.Int64, "difference": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "p_value": pl.Float64,
}  # fmt: skip


def accuracy_by_variant(completions: pl.DataFrame, variants: tuple[str, ...], confidence: float) -> pl.DataFrame:
    """One row per variant: questions, correct answers, accuracy with its Wilson interval, and what else to know.

    ``correct`` grades the strict answer. ``answered`` is the share of completions with a strict answer;
    ``mean_tokens`` the mean length of a completion; ``cut_off`` the share that ended at the length limit.
    """
    grouped = completions.group_by("variant").agg(
        questions=pl.len(),
        correct=pl.col("correct").sum(),
        accuracy=pl.col("correct").mean(),
        accuracy_flexible=pl.col("correct_flexible").mean(),
        answered=pl.col("answer_strict").is_not_null().mean(),
        mean_tokens=(pl.col("token_ids").list.len() - pl.col("prompt_length")).mean(),
        mean_prompt_tokens=pl.col("prompt_length").mean(),
        cut_off=(pl.col("stop_reason") == "length").mean(),
    )
    intervals = [wilson(row["correct"], row["questions"], confidence) for row in grouped.iter_rows(named=True)]
    order = {variant: place for place, variant in enumerate(variants)}
    return grouped.with_columns(
        low=pl.Series([low for low, _ in intervals], dtype=pl.Float64),
        high=pl.Series([high for _, high in intervals], dtype=pl.Float64),
    ).sort(pl.col("variant").replace_strict(order, return_dtype=pl.Int64))


def accuracy_differences(
    completions: pl.DataFrame, variants: tuple[str, ...], reference: str, config: AnalyzeConfig, seed: int
) -> pl.DataFrame:
    """One row per variant but the reference: the difference in accuracy on the same questions.

    ``only_variant`` and ``only_reference`` count the questions that one answers right and the other does not. Interval
    and tests as in `cotlens.analyze.comparisons`; the sign-flip test is McNemar's exact one where questions are few.
    """
    table = completions.select("question_id", "variant", pl.col("correct").cast(pl.Float64)).pivot(
        "variant", index="question_id", values="correct", maintain_order=True
    )
    rows = []
    for variant in variants:
        if variant == reference or variant not in table.columns or reference not in table.columns:
            continue
        both = table.select(variant, reference).drop_nulls().to_numpy()
        difference = both[:, 0] - both[:, 1]
        weights = draw_weights(len(both), config.bootstrap, seed)
        low, high = interval(weights @ difference / max(1, len(both)), len(both), config.confidence)
        rows.append(
            {
                "variant": variant, "reference": reference, "questions": len(both),
                "accuracy": both[:, 0].mean(), "reference_accuracy": both[:, 1].mean(),
                "only_variant": int((difference > 0).sum()), "only_reference": int((difference < 0).sum()),
                "difference": difference.mean(), "low": float(low), "high": float(high),
                "p_value": float(sign_flip_p_values(difference[:, None], config.permutations, seed)[0]),
            }
        )  # fmt: skip
    frame = pl.DataFrame(rows, schema=_DIFFERENCES)
    return frame.with_columns(q_value=pl.Series(false_discovery(frame["p_value"].to_numpy()), dtype=pl.Float64))
