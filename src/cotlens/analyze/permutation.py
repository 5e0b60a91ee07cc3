"""Permutation p-values of paired differences, and the correction for many of them."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float64

from cotlens.analyze.bootstrap import ratio

__all__ = ["false_discovery", "paired_contributions", "sign_flip_p_values"]

#: Up to so many questions all sign flips are gone through instead of some at random.
_EXACT = 12
#: Sign flips held at once.
_AT_ONCE = 2000


def paired_contributions(
    numerator: np.ndarray, denominator: np.ndarray, other: np.ndarray, other_denominator: np.ndarray
) -> np.ndarray:
    """What each question contributes to the difference of two pooled ratios; the mean is that difference exactly.

    For ratios ``f = sum(a) / sum(n)`` and ``g = sum(b) / sum(m)`` question ``q`` contributes
    ``(a_q - f n_q) / mean(n) - (b_q - g m_q) / mean(m) + f - g``: the linearisation that survey statistics uses
    for ratios (Särndal, Swensson & Wretman, 1992, section 5.6). Where ``n`` and ``m`` are equal, as they are for one
    text under two prompts, this is ``(a_q - b_q) / mean(n)`` up to a share of the difference itself.

    Args:
        numerator: ``[Q, *C]`` of the one condition; ``denominator`` likewise.
        other: ``[Q, *C]`` of the other condition; ``other_denominator`` likewise.

    Returns:
        ``[Q, *C]``, NaN for a cell that has no denominator in one of the conditions.
    """
    centred, value = _linearised(numerator, denominator)
    other_centred, other_value = _linearised(other, other_denominator)
    return np.asarray(centred - other_centred + (value - other_value))


def _linearised(numerator: np.ndarray, denominator: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value = ratio(numerator.sum(axis=0), denominator.sum(axis=0))
    mean = denominator.mean(axis=0) if len(denominator) else np.zeros(denominator.shape[1:])
    return ratio(numerator - value * denominator, mean), value


def sign_flip_p_values(contributions: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Two-sided p-values that the mean of each column is as far from zero as it is by chance.

    The sign of a question's contribution is flipped at random, all cells together: under the null hypothesis which of
    the two conditions it came from does not matter (Fisher, 1935; valid in large samples without exact symmetry:
    Canay, Romano & Shaikh, 2017). With few questions every flip is gone through. The added ones keep a p-value that
    rests on random flips from being zero (Phipson & Smyth, 2010).

    Args:
        contributions: ``[Q, *C]``; a column with NaN, or with one question only, has the p-value NaN.
        permutations: number of random flips.
        seed: of the flips.
    """
    questions, shape = len(contributions), contributions.shape[1:]
    columns = contributions.reshape(questions, -1)
    p_values = np.full(columns.shape[1], np.nan)
    whole = ~np.isnan(columns).any(axis=0)
    if questions < 2 or not whole.any():
        return p_values.reshape(shape)
    chosen = columns[:, whole]
    observed = np.abs(chosen.sum(axis=0))
    # Sums in another order differ in the last digits; what is equal must count as equal.
    threshold = observed - 1e-9 * np.abs(chosen).sum(axis=0)
    exact = questions <= _EXACT
    reached, flips = np.zeros(chosen.shape[1]), 0
    for signs in _all_signs(questions) if exact else _random_signs(questions, permutations, seed):
        reached += (np.abs(signs @ chosen) >= threshold).sum(axis=0)
        flips += len(signs)
    p_values[whole] = reached / flips if exact else (1 + reached) / (1 + flips)
    return p_values.reshape(shape)


def _all_signs(questions: int) -> list[Float64[np.ndarray, "P Q"]]:
    return [np.array(list(product((1.0, -1.0), repeat=questions)))]


def _random_signs(questions: int, permutations: int, seed: int) -> list[Float64[np.ndarray, "P Q"]]:
    rng = np.random.default_rng(seed)
    sizes = [min(_AT_ONCE, permutations - start) for start in range(0, permutations, _AT_ONCE)]
    return [rng.integers(0, 2, size=(size, questions)) * 2.0 - 1.0 for size in sizes]


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """The p-values adjusted for how many there are, so that of those below a level no larger share is expected to be
    false (Benjamini & Hochberg, 1995); NaN stays NaN and does not count."""
    from scipy.stats import false_discovery_control

    adjusted = np.full(p_values.shape, np.nan)
    known = ~np.isnan(p_values)
    if known.any():
        adjusted[known] = false_discovery_control(p_values[known], method="bh")
    return adjusted
