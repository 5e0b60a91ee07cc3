"""Effects of edits, against numbers worked out by hand, and against what a simulation holds."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from cotlens.analyze import wilson
from cotlens.analyze.edit_effects import edit_effects
from cotlens.analyze.edit_measures import MEASURES, values_by_draw
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=400)
_SCHEMA: dict[str, Any] = {
    "set": pl.String, "target": pl.String, "scope": pl.String, "kind": pl.String, "dose": pl.Float64,
    "draw": pl.Int32,
}  # fmt: skip


def answers(outcomes: dict[tuple[str | None, str], list[str]], scope: str = "set", dose: float = 1.0) -> pl.DataFrame:
    """From target and set to the outcomes of each draw: a letter per question, right, wrong or none. The number of
    tokens is 10 more for each draw."""
    rows = [
        {
            "set": name,
            "target": target,
            "scope": scope if target else None,
            "kind": "noise" if target else "none",
            "dose": dose if target else 0.0,
            "draw": draw,
            "question_id": f"q{place}",
            "answer": None if letter == "n" else "1",
            "correct": letter == "r",
            "tokens": 20 + 10 * draw,
        }
        for (target, name), draws in outcomes.items()
        for draw, letters in enumerate(draws)
        for place, letter in enumerate(letters)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA | {
        "question_id": pl.String, "answer": pl.String, "correct": pl.Boolean, "tokens": pl.Int32})  # fmt: skip


OUTCOMES = {
    (None, "none"): ["rrrwn"],
    ("reasoning", "reasoning"): ["wwwwn", "rwwwn"],
    ("reasoning", "random"): ["rrwwn", "wwwwn", "rrrww", "nnrrr"],
}


def row_of(table: pl.DataFrame, measure: str, target: str = "reasoning") -> dict[str, Any]:
    return table.filter(measure=measure, target=target).row(0, named=True)


def effects(outcomes: dict[tuple[str | None, str], list[str]], scope: str = "set") -> pl.DataFrame:
    return edit_effects({"interventions": answers(outcomes, scope)}, CONFIG, seed=0)


def test_accuracy_beside_random_sets_is_what_is_counted_by_hand() -> None:
    row = row_of(effects(OUTCOMES), "accuracy")
    assert (row["draws"], row["control_draws"], row["questions"]) == (2, 4, 5)
    assert (row["untouched"], row["value"]) == (0.6, pytest.approx(0.1))
    assert (row["low"], row["high"]) == pytest.approx(wilson(0.5, 5))
    assert row["difference"] == pytest.approx(-0.5)
    assert row["difference_low"] < -0.5 < row["difference_high"] <= 0
    assert (row["random"], row["random_low"], row["random_high"]) == pytest.approx((0.4, 0.0, 0.6))
    assert row["excess"] == pytest.approx(-0.3)
    assert row["excess_low"] < -0.3 < row["excess_high"]
    # One of four random sets is as low as the mean of the set's draws.
    assert row["p_value"] == pytest.approx((1 + 1) / (1 + 4))


def test_answers_count_whether_right_or_wrong() -> None:
    row = row_of(effects(OUTCOMES), "answered")
    assert (row["untouched"], row["value"], row["random"]) == (0.8, 0.8, pytest.approx((0.8 + 0.8 + 1 + 0.6) / 4))
    assert row["p_value"] == pytest.approx((1 + 3) / (1 + 4))


def test_for_lengths_far_is_far_in_either_direction() -> None:
    row = row_of(effects(OUTCOMES), "tokens")
    # Random sets have 20, 30, 40 and 50 tokens, the set 25; the median of all five is 30, from which 25 lies 5.
    assert (row["untouched"], row["value"], row["random"]) == (20, 25, 35)
    assert row["p_value"] == pytest.approx((1 + 3) / (1 + 4))


def test_for_a_set_that_is_spared_it_is_the_other_direction() -> None:
    row = row_of(effects(OUTCOMES, "rest"), "accuracy")
    # Sets that are left whole should leave more right answers than random ones: three of four leave as many or more.
    assert row["p_value"] == pytest.approx((1 + 3) / (1 + 4))
    spared = OUTCOMES | {("reasoning", "reasoning"): ["rrrrr"]}
    assert row_of(effects(spared, "rest"), "accuracy")["p_value"] == pytest.approx(1 / 5)


def test_values_are_corrected_over_the_targets_of_one_edit() -> None:
    random = ["rrrrr"] * 19
    outcomes = {
        (None, "none"): ["rrrrr"],
        ("a", "a"): ["wwwww"], ("a", "random"): random,
        ("b", "b"): ["rrrrr"], ("b", "random"): random,
        ("c", "c"): ["wwwwr"], ("c", "random"): ["wwwww", *random[1:]],
        ("d", "d"): ["wwwww"],
    }  # fmt: skip
    table = effects(outcomes)
    found = [(row_of(table, "accuracy", t)["p_value"], row_of(table, "accuracy", t)["q_value"]) for t in "abc"]
    # Of three p-values the smallest is multiplied by 3, the next by 3/2, the largest by 1.
    assert found == [(0.05, pytest.approx(0.15)), (1.0, 1.0), (0.1, pytest.approx(0.15))]
    alone = row_of(table, "accuracy", "d")
    assert (alone["control_draws"], alone["p_value"], alone["q_value"], alone["random"], alone["excess"]) == (
        0, None, None, None, None,
    )  # fmt: skip


def test_nothing_right_at_all_has_an_interval_all_the_same() -> None:
    row = row_of(effects({(None, "none"): ["rrrrr"], ("a", "a"): ["wwwww"] * 3}), "accuracy", "a")
    assert (row["value"], row["low"]) == (0, 0)
    assert row["high"] == pytest.approx(wilson(0, 5)[1])


def test_with_many_draws_the_band_is_their_middle() -> None:
    draws = [letter * 5 for letter in "w" + "r" * 98 + "w"]
    row = row_of(effects({(None, "none"): ["rrrrr"], ("a", "a"): ["wwwww"], ("a", "random"): draws}), "accuracy", "a")
    assert (row["random_low"], row["random_high"]) == (1, 1)
    assert row["p_value"] == pytest.approx(3 / 101)


def plain(log_probs: dict[tuple[str | None, str], list[list[float]]]) -> pl.DataFrame:
    """From target and set to the log-probabilities of each draw for two passages, of 10 and of 30 tokens; and one
    question, right where the first passage has more than -20."""
    rows = [
        {"set": name, "target": target, "scope": "set" if target else None, "kind": "zero" if target else "none"}
        | {"dose": 1.0 if target else 0.0, "draw": draw, "measure": measure, "item": item, "tokens": tokens}
        | {"log_prob": value, "correct": correct}
        for (target, name), draws in log_probs.items()
        for draw, (first, second) in enumerate(draws)
        for measure, item, tokens, value, correct in (
            ("text", "t0", 10, first, None),
            ("text", "t1", 30, second, None),
            ("questions", "q0", 1, -1.0, first > -20),
        )
    ]
    return pl.DataFrame(rows, schema=_SCHEMA | {
        "measure": pl.String, "item": pl.String, "tokens": pl.Int32, "log_prob": pl.Float64, "correct": pl.Boolean,
    })  # fmt: skip


PLAIN = {
    (None, "none"): [[-10.0, -70.0]],
    ("reasoning", "reasoning"): [[-25.0, -95.0]],
    ("reasoning", "random"): [[-10.0, -80.0], [-40.0, -120.0], [-15.0, -65.0]],
}


def test_perplexity_is_pooled_over_tokens_and_compared_as_a_ratio() -> None:
    tables = {"interventions": answers(OUTCOMES).clear(), "specificity": plain(PLAIN)}
    row = row_of(edit_effects(tables, CONFIG, seed=0), "perplexity")
    assert row["questions"] == 2, "passages are the clusters"
    assert (row["untouched"], row["value"]) == pytest.approx((math.exp(80 / 40), math.exp(120 / 40)))
    assert row["low"] < row["value"] < row["high"]
    assert row["difference"] == pytest.approx(1.0)
    assert row["random"] == pytest.approx(math.exp((90 + 160 + 80) / 3 / 40))
    assert (row["random_low"], row["random_high"]) == pytest.approx((math.exp(2), math.exp(4)))
    assert row["excess"] == pytest.approx((120 - 110) / 40)
    assert row["p_value"] == pytest.approx((1 + 1) / (1 + 3)), "more is worse"
    right = row_of(edit_effects(tables, CONFIG, seed=0), "questions")
    assert (right["untouched"], right["value"], right["random"]) == pytest.approx((1, 0, 2 / 3))
    assert right["difference_low"] is None, "one question has no interval"


def test_every_draw_has_a_row_with_each_measure() -> None:
    edited = plain(PLAIN).with_columns(kind=pl.col("kind").replace("zero", "noise"))
    table = values_by_draw({"interventions": answers(OUTCOMES), "specificity": edited})
    assert table.columns == ["target", "scope", "kind", "dose", "set", "draw", *(m.name for m in MEASURES)]
    assert table.filter(set="none").row(0)[4:] == ("none", 0, 0.6, 0.8, 20, pytest.approx(math.exp(2)), 1.0)
    random = table.filter(set="random").sort("draw")
    assert random["accuracy"].to_list() == [0.4, 0.0, 0.6, 0.6]
    assert random["questions"].to_list() == [1.0, 0.0, 1.0, None], "the fourth was not read"
    without = values_by_draw({"interventions": answers(OUTCOMES)})
    assert without.columns == table.columns
    assert without["perplexity"].null_count() == without.height == 7


def test_without_edits_there_are_no_effects() -> None:
    table = effects({(None, "none"): ["rw"]})
    assert table.is_empty()
    assert table.columns[:9] == [
        "target", "scope", "kind", "dose", "measure", "draws", "control_draws", "questions", "untouched",
    ]  # fmt: skip
    assert table.columns[-2:] == ["p_value", "q_value"]


@pytest.mark.slow
def test_intervals_cover_and_the_test_keeps_its_level() -> None:
    rng = np.random.default_rng(11)
    questions, controls, trials = 50, 20, 300
    config = AnalyzeConfig(bootstrap=400)
    covered, rejected = {"difference": 0, "excess": 0}, 0
    for trial in range(trials):
        # Questions differ in difficulty, sets in how much harm they do; the set that is tested is one of them.
        level = rng.beta(3, 3, size=(questions, 1))
        harm = rng.uniform(0.1, 0.4, size=controls + 1)
        right = rng.uniform(size=(questions, controls + 2)) < np.column_stack([level, level * (1 - harm)])
        letters = ["".join("r" if one else "w" for one in column) for column in right.T]
        outcomes = {(None, "none"): letters[:1], ("a", "a"): letters[1:2], ("a", "random"): letters[2:]}
        row = row_of(edit_effects({"interventions": answers(outcomes)}, config, trial), "accuracy", "a")
        truth = {"difference": -0.5 * harm[0], "excess": -0.5 * (harm[0] - 0.25)}
        for name, value in truth.items():
            covered[name] += row[f"{name}_low"] <= value <= row[f"{name}_high"]
        rejected += row["p_value"] <= 1 / 20
    # Four standard errors; where questions and sets are both resampled, intervals are too wide rather than too narrow.
    assert abs(covered["difference"] / trials - 0.95) <= 0.05
    assert covered["excess"] / trials >= 0.92
    assert rejected / trials <= 0.05 + 0.05
