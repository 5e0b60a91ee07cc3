import math

import numpy as np
import pytest
from scipy.stats import binomtest

from cotlens.analyze.statistics import permutation_p_value, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_gives_the_textbook_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_wilson_equals_scipys(confidence: float) -> None:
    for trials in (1, 7, 60, 1319):
        for successes in {0, 1, trials // 3, trials}:
            theirs = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
            assert wilson(successes, trials, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_without_trials_is_not_a_number() -> None:
    assert all(math.isnan(value) for value in wilson(0, 0))


def test_the_p_value_counts_draws_that_are_as_low() -> None:
    draws = np.array([0.1, 0.2, 0.3, 0.4])
    assert permutation_p_value(0.05, draws) == pytest.approx(1 / 5)
    assert permutation_p_value(0.2, draws) == pytest.approx(3 / 5)
    assert permutation_p_value(0.9, draws) == 1
    assert permutation_p_value(0.1, np.array([])) == 1
