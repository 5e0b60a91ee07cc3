"""Simulated activity with a known difference: intervals hold it as often as they say, and tests err as seldom."""

import numpy as np
import polars as pl
import pytest
from tests.analyze.simulation import make_counts, make_index

from cotlens.analyze.comparisons import compare_frequencies
from cotlens.analyze.correctness import EVERY_VARIANT, predict_correctness
from cotlens.config import AnalyzeConfig

QUESTIONS, TRIALS, DIFFERENCE = 40, 400, 0.03
CONFIG = AnalyzeConfig(bootstrap=600, permutations=299, control_draws=2, confidence=0.95)
#: Four standard errors of a share of 95% over so many trials, correlated in pairs at most.
SLACK = 0.045
INDEX = make_index(("add", "equals"), draws=2)


def _shares(rng: np.random.Generator, raised: float) -> tuple[np.ndarray, np.ndarray]:
    """How likely neurons are active under two variants: a question has its own level in both, and more in each.

    ``add`` differs by ``raised`` on average, the other columns not at all.
    """
    level = rng.gamma(4.0, 0.03, size=(QUESTIONS, 1))
    first, second = (level + rng.gamma(2.0, 0.01, size=(QUESTIONS, INDEX.columns.height)) for _ in range(2))
    second[:, 0] += raised
    return first, second


@pytest.mark.slow
def test_intervals_of_paired_differences_cover_and_tests_keep_their_level() -> None:
    rng = np.random.default_rng(7)
    covered = {"add": 0, "equals": 0}
    found = {"add": 0, "equals": 0}
    for trial in range(TRIALS):
        shares, other = _shares(rng, DIFFERENCE)
        # Texts under the second variant are three times as long, and their length varies more.
        steps, longer = rng.integers(20, 40, size=QUESTIONS), rng.integers(40, 140, size=QUESTIONS)
        counts = {
            "cot": make_counts(INDEX, steps, shares, rng),
            "text_only": make_counts(INDEX, longer, other, rng),
        }
        table = compare_frequencies(counts, {}, "cot", INDEX, CONFIG, seed=trial).filter(role="all")
        for row in table.iter_rows(named=True):
            truth = DIFFERENCE if row["concept"] == "add" else 0.0
            covered[row["concept"]] += row["low"] <= truth <= row["high"]
            found[row["concept"]] += row["p_value"] <= 0.05
    for concept, times in covered.items():
        assert abs(times / TRIALS - 0.95) <= SLACK, concept
    assert abs(found["equals"] / TRIALS - 0.05) <= SLACK, "no difference"
    assert found["add"] / TRIALS >= 0.5, "a difference"


@pytest.mark.slow
def test_intervals_of_one_text_under_two_prompts_cover() -> None:
    rng = np.random.default_rng(8)
    covered = {"forced": 0, "text": 0}
    for trial in range(TRIALS // 2):
        shares, other = _shares(rng, DIFFERENCE)
        steps = rng.integers(20, 40, size=QUESTIONS)
        cot = make_counts(INDEX, steps, shares, rng)
        free = make_counts(INDEX, rng.integers(20, 80, size=QUESTIONS), other, rng)
        forced = make_counts(INDEX, steps, other, rng)
        table = compare_frequencies({"cot": cot, "text_only": free}, {"text_only": forced}, "cot", INDEX, CONFIG, trial)
        for row in table.filter(role="all", concept="add").iter_rows(named=True):
            truth = {"free": DIFFERENCE, "forced": DIFFERENCE, "text": 0.0}[row["contrast"]]
            if row["contrast"] in covered:
                covered[row["contrast"]] += row["low"] <= truth <= row["high"]
    for contrast, times in covered.items():
        assert abs(times / (TRIALS // 2) - 0.95) <= 1.4 * SLACK, contrast


@pytest.mark.slow
def test_intervals_of_slope_and_area_cover() -> None:
    """Right answers are more likely where ``add`` is more active; the true values come from one very large sample."""
    rng = np.random.default_rng(9)
    slope, area = _truth(np.random.default_rng(10))
    covered = {"slope": 0, "auc": 0}
    for trial in range(TRIALS // 2):
        counts, completions = _graded(rng, 60)
        table = predict_correctness(counts, completions, INDEX, CONFIG, trial)
        row = table.filter(variant=EVERY_VARIANT, concept="add").row(0, named=True)
        covered["slope"] += row["slope_low"] <= slope <= row["slope_high"]
        covered["auc"] += row["auc_low"] <= area <= row["auc_high"]
    for name, times in covered.items():
        assert abs(times / (TRIALS // 2) - 0.95) <= 1.4 * SLACK, name


def _graded(rng: np.random.Generator, questions: int):  # type: ignore[no-untyped-def]
    """Two variants on the same questions, whose difficulty goes into both grades."""
    ease = rng.normal(0, 0.15, size=questions)
    counts, rows = {}, []
    for variant in ("cot", "text_only"):
        shares = np.repeat(rng.uniform(0.05, 0.4, size=(questions, 1)), INDEX.columns.height, axis=1)
        counts[variant] = make_counts(INDEX, np.full(questions, 400), shares, rng)
        likely = np.clip(0.5 + 1.0 * (shares[:, 0] - 0.225) + ease, 0.02, 0.98)
        right = rng.random(questions) < likely
        rows += [
            {"variant": variant, "question_id": name, "correct": bool(value)}
            for name, value in zip(counts[variant].questions, right, strict=True)
        ]
    return counts, pl.DataFrame(rows)


def _truth(rng: np.random.Generator) -> tuple[float, float]:
    counts, completions = _graded(rng, 9000)
    quick = CONFIG.model_copy(update={"bootstrap": 1})
    row = predict_correctness(counts, completions, INDEX, quick, 0).filter(variant=EVERY_VARIANT, concept="add")
    return float(row["slope"].item()), float(row["auc"].item())
