import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from cotlens.analyze.bootstrap import draw_weights, interval, interval_levels, ratio, resampled_ratios


def _ends(numerator: np.ndarray, denominator: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    weights = draw_weights(len(numerator), 400, seed)
    samples = resampled_ratios(weights, numerator[:, None], denominator[:, None])
    low, high = interval(samples, len(numerator), confidence)
    return float(low[0]), float(high[0])


@pytest.mark.parametrize("clusters", [10, 40])
def test_an_interval_covers_the_true_ratio_at_its_level(clusters: int) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(1000):
        denominator = rng.integers(20, 60, size=clusters).astype(float)
        shares = np.clip(rng.normal(0.3, 0.1, size=clusters), 0, 1)
        numerator = rng.binomial(denominator.astype(int), shares).astype(float)
        low, high = _ends(numerator, denominator, 0.9, trial)
        covered += low <= 0.3 <= high
    assert 0.87 <= covered / 1000 <= 0.93


def test_every_resample_draws_as_many_questions_and_repeats_with_its_seed() -> None:
    weights = draw_weights(7, 50, seed=1)
    assert weights.sum(axis=1).tolist() == [7.0] * 50
    assert (weights == draw_weights(7, 50, seed=1)).all()
    assert (weights != draw_weights(7, 50, seed=2)).any()


def test_questions_without_spread_give_a_point() -> None:
    assert _ends(np.full(5, 3.0), np.full(5, 12.0), 0.95, 0) == pytest.approx((0.25, 0.25))


def test_one_question_has_no_interval() -> None:
    assert np.isnan(_ends(np.ones(1), np.ones(1), 0.95, 0)).all()
    assert np.isnan(_ends(np.zeros(0), np.zeros(0), 0.95, 0)).all()


def test_a_question_that_lacks_a_cell_leaves_out_only_resamples_without_it() -> None:
    weights = draw_weights(3, 500, 0)
    samples = resampled_ratios(weights, np.array([[2.0], [0.0], [0.0]]), np.array([[4.0], [0.0], [0.0]]))
    assert np.isnan(samples).any()
    assert [float(end[0]) for end in interval(samples, 3, 0.95)] == [0.5, 0.5]


def test_nothing_to_divide_by_is_not_a_number() -> None:
    assert ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()[0] == 0.5
    assert np.isnan(ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))[1])


def test_levels_widen_for_few_clusters_and_are_plain_for_many() -> None:
    low, high = interval_levels(10, 0.95)
    assert low == pytest.approx(norm.cdf(np.sqrt(10 / 9) * student.ppf(0.025, 9)))
    assert low + high == pytest.approx(1)
    assert interval_levels(100_000, 0.95) == pytest.approx((0.025, 0.975), abs=1e-5)
