import math

import pytest

from cotlens.concepts.kappa import cohens_kappa


def kappa(first: list[bool], second: list[bool], clusters: list[int] | None = None, resamples: int = 500):
    return cohens_kappa(first, second, clusters or list(range(len(first))), resamples, 0.95, 0)


def table(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    return (
        [True] * (both + first) + [False] * (second + neither),
        [True] * both + [False] * first + [True] * second + [False] * neither,
    )


def test_a_table_worked_by_hand() -> None:
    # Observed agreement 0.7; expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5; kappa (0.7 - 0.5) / (1 - 0.5).
    found = kappa(*table(20, 5, 10, 15))
    assert found.value == pytest.approx(0.4)
    assert found.low < 0.4 < found.high
    assert -1 <= found.low < found.high <= 1


def test_full_agreement_is_one_and_chance_is_zero() -> None:
    assert kappa(*table(10, 0, 0, 10)) == (1.0, 1.0, 1.0)
    assert kappa(*table(10, 10, 10, 10)).value == pytest.approx(0.0)
    assert kappa(*table(0, 10, 10, 0)).value == pytest.approx(-1.0)


def test_it_is_not_defined_where_both_always_say_the_same_thing() -> None:
    assert all(math.isnan(part) for part in kappa(*table(9, 0, 0, 0)))
    assert all(math.isnan(part) for part in kappa([], []))
    assert kappa(*table(0, 9, 0, 0)).value == 0.0, "one always yes, the other always no"


def test_verdicts_on_one_neuron_count_as_one_when_resampled() -> None:
    first, second = table(20, 5, 10, 15)
    apart = kappa(first, second)
    together = kappa(first, second, [n // 5 for n in range(50)])
    assert together.value == apart.value
    assert together.high - together.low > 1.3 * (apart.high - apart.low)


def test_answers_may_be_names() -> None:
    # Observed agreement 15/25; expected (2 * 2 + 2 * 2) / 25, of sum and of none.
    found = kappa(["sum", "sum", "none", "none", "tree"], ["sum", "leaf", "none", "none", "sum"])
    assert found.value == pytest.approx((15 - 8) / (25 - 8))
    assert kappa(["sum"] * 4 + ["tree"], ["sum"] * 4 + ["tree"]).value == 1.0
    assert math.isnan(kappa(["sum"] * 4, ["sum"] * 4).value)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert kappa(*table(20, 5, 10, 15)) == kappa(*table(20, 5, 10, 15))
