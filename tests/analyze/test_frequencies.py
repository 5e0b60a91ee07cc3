from collections.abc import Callable

import polars as pl
import pytest

from cotlens.analyze.counting import Counts
from cotlens.analyze.frequencies import frequencies, frequencies_by_role
from cotlens.analyze.sets import SetIndex
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=200, control_draws=2)


def test_frequencies_are_those_counted_by_hand(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = frequencies({"cot": count(index)}, index, CONFIG, seed=0)
    own = table.row(by_predicate=pl.col("set") == "concept", named=True)
    # L0N1+ at a0; L1N5- at a0 and b0: 3 of 3 steps x 2 neurons.
    assert own["frequency"] == pytest.approx(3 / 6)
    assert own["low"] <= own["frequency"] <= own["high"]
    random = table.row(by_predicate=pl.col("set") == "random", named=True)
    # Draw 0: L0N2+ at a0, b0; L1N6+ at a0, a1 = 4 of 6. Draw 1: L0N3+ at a1; L1N7+ at a1, b0 = 3 of 6.
    assert random["frequency"] == pytest.approx((4 / 6 + 3 / 6) / 2)
    assert (random["neurons"], random["draws"], random["questions"], random["steps"]) == (2, 2, 2, 3)


def test_signs_are_kept_apart(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = frequencies({"cot": count(index)}, index, CONFIG, seed=0)
    own = table.row(by_predicate=pl.col("set") == "concept", named=True)
    assert (own["positive"], own["negative"]) == pytest.approx((1 / 6, 2 / 6))
    assert own["opposite"] == pytest.approx(1 / 6), "L0N1 is active with the other sign at a1"
    # m * ||v||: 0.5 * 10 for L0N1+; -2 * 50 and -1 * 50 for L1N5-.
    assert (own["score_positive"], own["score_negative"]) == pytest.approx((5.0, -75.0))


def test_steps_with_any_and_distinct_neurons_are_counted_once(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = frequencies({"cot": count(index)}, index, CONFIG, seed=0)
    own, random = table.sort("set").iter_rows(named=True)
    assert (own["any"], own["distinct"]) == pytest.approx((2 / 3, 2.0)), "both neurons at a0, one at b0"
    # Draw 0 is active at a0, a1 and b0, draw 1 at a1 and b0.
    assert (random["any"], random["distinct"]) == pytest.approx((5 / 6, 2.0))


def test_a_step_counts_for_the_role_of_its_own_token_and_of_the_one_before(
    index: SetIndex, count: Callable[..., Counts]
) -> None:
    table = frequencies_by_role({"cot": count(index)}, index, CONFIG, seed=0).filter(set="concept")
    found = {(row["token"], row["role"]): (row["frequency"], row["steps"]) for row in table.iter_rows(named=True)}
    assert found == {
        ("predicted", "operand"): (pytest.approx(3 / 4), 2),
        ("predicted", "operator"): (0.0, 1),
        ("read", "text"): (pytest.approx(3 / 4), 2),
        ("read", "operand"): (0.0, 1),
    }


def test_the_questions_of_a_role_are_those_that_have_it(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = frequencies_by_role({"cot": count(index)}, index, CONFIG, seed=0).filter(set="concept", token="predicted")
    assert dict(table.select("role", "questions").iter_rows()) == {"operand": 2, "operator": 1}


def test_without_stored_tokens_every_token_is_text(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = frequencies_by_role({"cot": count(index, roles=None)}, index, CONFIG, seed=0)
    assert table["role"].unique().to_list() == ["text"]
