import numpy as np
import polars as pl
import pytest
from scipy.stats import linregress, mannwhitneyu
from tests.analyze.simulation import make_counts, make_index

from cotlens.analyze.correctness import EVERY_VARIANT, predict_correctness
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=200, control_draws=3)
INDEX = make_index(("add", "equals"), draws=3)


def _data(right_share: float = 0.5, questions: int = 40):  # type: ignore[no-untyped-def]
    """Under each variant the frequency of ``add`` is higher in right answers; the variants differ in level."""
    rng = np.random.default_rng(0)
    counts, rows = {}, []
    for variant, level in (("cot", 0.1), ("text_only", 0.5)):
        right = np.arange(questions) < right_share * questions
        shares = np.full((questions, INDEX.columns.height), level)
        shares[:, 0] += 0.05 * right
        counts[variant] = make_counts(INDEX, rng.integers(20, 60, size=questions), shares, rng)
        rows += [
            {"variant": variant, "question_id": f"q{place:04d}", "correct": bool(value)}
            for place, value in enumerate(right)
        ]
    return counts, pl.DataFrame(rows)


def test_area_and_slope_are_those_of_scipy() -> None:
    counts, completions = _data()
    table = predict_correctness(counts, completions, INDEX, CONFIG, seed=0)
    row = table.row(by_predicate=(pl.col("variant") == "cot") & (pl.col("concept") == "add"), named=True)
    frequency = counts["cot"].by_question[0, :, :, 0].sum(axis=1) / (5 * counts["cot"].steps[0].sum(axis=1))
    right = completions.filter(variant="cot")["correct"].to_numpy()
    rank = mannwhitneyu(frequency[right], frequency[~right]).statistic / (right.sum() * (~right).sum())
    line = linregress(frequency / frequency.std(ddof=1), right.astype(float))
    assert row["auc"] == pytest.approx(rank)
    assert row["slope"] == pytest.approx(line.slope)
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert row["slope_low"] < row["slope"] < row["slope_high"]
    assert row["p_value"] <= row["q_value"] < 0.05
    assert (row["questions"], row["completions"], row["correct"]) == (40, 40, 20)


def test_over_all_variants_only_answers_of_the_same_variant_are_compared() -> None:
    counts, completions = _data()
    # Right under the variant of low activity only: across variants activity would go with wrong answers.
    completions = completions.with_columns(
        correct=pl.col("correct") | (pl.col("variant") == "cot") & (pl.col("question_id") < "q0035")
    )
    table = predict_correctness(counts, completions, INDEX, CONFIG, seed=0).filter(concept="add")
    by_variant = {row["variant"]: row for row in table.iter_rows(named=True)}
    together = by_variant[EVERY_VARIANT]
    assert (together["questions"], together["completions"]) == (40, 80)
    won = sum(by_variant[name]["auc"] * n for name, n in (("cot", 35 * 5), ("text_only", 20 * 20)))
    assert together["auc"] == pytest.approx(won / (35 * 5 + 20 * 20))
    assert together["auc"] > 0.6
    assert together["slope"] > 0


def test_a_concept_that_says_nothing_lies_among_the_random_sets() -> None:
    counts, completions = _data()
    row = predict_correctness(counts, completions, INDEX, CONFIG, seed=0).filter(variant="cot", concept="equals")
    assert 0.3 < row["auc"].item() < 0.7
    assert row["p_value"].item() > 0.05
    assert row["random_auc_low"].item() <= row["random_auc"].item() <= row["random_auc_high"].item()


def test_the_adjusted_slope_holds_the_length_fixed() -> None:
    """Length alone decides, and activity follows length."""
    rng = np.random.default_rng(1)
    steps = rng.integers(20, 120, size=300)
    shares = np.repeat((steps / 400)[:, None], INDEX.columns.height, axis=1)
    counts = {"cot": make_counts(INDEX, steps, shares, rng)}
    right = rng.random(300) < steps / 120
    names = [f"q{place:04d}" for place in range(300)]
    completions = pl.DataFrame({"variant": ["cot"] * 300, "question_id": names, "correct": right})
    row = predict_correctness(counts, completions, INDEX, CONFIG, seed=0).filter(concept="add").row(0, named=True)
    assert row["slope_low"] > 0
    assert row["adjusted_low"] < 0 < row["adjusted_high"]


def test_few_right_answers_give_an_area_without_an_interval() -> None:
    counts, completions = _data(right_share=0.1)
    row = predict_correctness(counts, completions, INDEX, CONFIG, seed=0).filter(variant="cot", concept="add")
    assert not np.isnan(row["auc"].item())
    assert np.isnan([row["auc_low"].item(), row["auc_high"].item()]).all()


def test_without_wrong_answers_there_is_nothing_to_tell() -> None:
    counts, completions = _data(right_share=1.0)
    table = predict_correctness(counts, completions, INDEX, CONFIG, seed=0)
    assert table["auc"].is_nan().all()
    assert table["slope"].is_nan().all()
    assert table["q_value"].is_nan().all()
