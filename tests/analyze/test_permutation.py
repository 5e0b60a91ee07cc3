from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from cotlens.analyze.permutation import false_discovery, paired_contributions, sign_flip_p_values


def test_the_p_value_of_few_questions_goes_through_every_flip() -> None:
    values = np.array([3.0, 1.0, 2.0, -0.5])
    flips = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=4)]
    by_hand = np.mean([flip >= abs(values.sum()) - 1e-12 for flip in flips])
    assert sign_flip_p_values(values[:, None], 99, seed=0)[0] == pytest.approx(by_hand) == 0.25


def test_on_right_and_wrong_it_is_mcnemars_exact_test() -> None:
    difference = np.array([1.0] * 7 + [-1.0] + [0.0] * 2)
    assert sign_flip_p_values(difference[:, None], 99, seed=0)[0] == pytest.approx(binomtest(1, 8).pvalue)


def test_random_flips_come_near_to_all_flips() -> None:
    difference = np.array([1.0] * 9 + [-1.0] * 3 + [0.0] * 8)
    found = sign_flip_p_values(difference[:, None], 20_000, seed=0)[0]
    assert found == pytest.approx(binomtest(3, 12).pvalue, abs=0.01)


def test_a_p_value_of_random_flips_is_never_zero() -> None:
    assert sign_flip_p_values(np.ones((60, 1)), 999, seed=0)[0] == pytest.approx(1 / 1000)


def test_cells_without_numbers_or_questions_have_no_p_value() -> None:
    found = sign_flip_p_values(np.array([[1.0, np.nan], [2.0, 1.0]]), 99, seed=0)
    assert not np.isnan(found[0])
    assert np.isnan(found[1])
    assert np.isnan(sign_flip_p_values(np.ones((1, 1)), 99, seed=0)).all()


def test_contributions_average_to_the_difference_of_the_pooled_ratios() -> None:
    rng = np.random.default_rng(0)
    steps, other_steps = rng.integers(5, 90, size=(2, 30, 3)).astype(float)
    active, other = rng.binomial(steps.astype(int), 0.4), rng.binomial(other_steps.astype(int), 0.2)
    found = paired_contributions(active, steps, other, other_steps)
    pooled = active.sum(axis=0) / steps.sum(axis=0) - other.sum(axis=0) / other_steps.sum(axis=0)
    assert found.mean(axis=0) == pytest.approx(pooled)


def test_equal_frequencies_in_texts_of_very_different_length_are_not_told_apart_too_often() -> None:
    rng = np.random.default_rng(1)
    rejected = 0
    for trial in range(400):
        steps = rng.integers(120, 180, size=(40, 1)).astype(float)
        other_steps = rng.integers(15, 45, size=(40, 1)).astype(float)
        share = np.clip(rng.normal(0.2, 0.08, size=(40, 1)), 0, 1)
        active = rng.binomial(steps.astype(int), share).astype(float)
        other = rng.binomial(other_steps.astype(int), share).astype(float)
        found = sign_flip_p_values(paired_contributions(active, steps, other, other_steps), 399, seed=trial)
        rejected += bool(found[0] <= 0.05)
    assert rejected / 400 <= 0.08


def test_corrected_p_values_are_benjamini_and_hochbergs() -> None:
    p_values = np.array([0.01, np.nan, 0.02, 0.03, 0.5])
    found = false_discovery(p_values)
    assert np.isnan(found[1])
    assert found[[0, 2, 3, 4]] == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert np.isnan(false_discovery(np.array([np.nan]))).all()
