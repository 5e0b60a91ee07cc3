"""How many questions a model answers under each variant."""

from __future__ import annotations

import polars as pl

from cotlens.analyze.statistics import wilson

__all__ = ["accuracy_by_variant"]


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
