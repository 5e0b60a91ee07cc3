import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from cotlens.analyze.discrimination import auc_parts, pooled_auc


def test_the_area_is_that_of_the_rank_test() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, size=50).astype(float)
    right = rng.random(50) < 0.4
    won, pairs = auc_parts(values, right, np.ones((1, 50)))
    rank = mannwhitneyu(values[right], values[~right])
    assert (won[0], pairs[0]) == pytest.approx((rank.statistic, right.sum() * (~right).sum()))


def test_a_question_that_is_drawn_twice_counts_twice() -> None:
    values, right = np.array([1.0, 3.0, 2.0]), np.array([True, True, False])
    doubled = auc_parts(values[[0, 0, 1, 2]], right[[0, 0, 1, 2]], np.ones((1, 4)))
    weighted = auc_parts(values, right, np.array([[2.0, 1.0, 1.0]]))
    assert doubled == weighted
    assert pooled_auc([weighted])[0] == pytest.approx(1 / 3)


def test_strata_are_compared_within_themselves_alone() -> None:
    low = auc_parts(np.array([0.1, 0.2]), np.array([False, True]), np.ones((1, 2)))
    high = auc_parts(np.array([5.1, 5.2]), np.array([False, True]), np.ones((1, 2)))
    assert pooled_auc([low, high])[0] == 1.0, (
        "across strata the right answer of the one is below the wrong of the other"
    )


def test_without_wrong_answers_there_is_no_area() -> None:
    assert np.isnan(pooled_auc([auc_parts(np.arange(3.0), np.ones(3, dtype=bool), np.ones((1, 3)))])).all()
    assert np.isnan(pooled_auc([])).all()
