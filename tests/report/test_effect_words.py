"""What is claimed of an intervention, and what is not."""

from typing import Any

import pytest
from tests.report.effect_tables import effect, effects, uncontrolled

from cotlens.report.effect_rows import effect_rows, loss_rows
from cotlens.report.effect_words import effect_words, loss_words, rest_words

LABELS = {"reasoning": "reasoning (74)", "concept:add": "add (14)", "concept:logic": "logic (41)"}


def _rows(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return effect_rows(effects(*given), LABELS)


def test_an_effect_is_claimed_when_p_is_small() -> None:
    words = effect_words(_rows(effect()), "cot")
    assert words[0] == (
        "With the 74 reasoning neurons corrupted by noise (noise 1), accuracy under cot was 20.0% (interval "
        "10.0–30.0%), against 60.0% untouched and 55.0% with as many matched random neurons treated alike (20 random "
        "sets, 50.0–60.0%); one-sided p\u00a0=\u00a00.048."
    )
    assert "depend more on these neurons" in words[1]
    assert words[2:] == ["With 20 random sets p cannot fall below 0.048."]


@pytest.mark.parametrize("changes", [{"p_value": 0.06}, {"value": 0.7, "p_value": 0.01}])
def test_no_effect_is_claimed_when_p_is_large_or_accuracy_did_not_fall(changes: dict[str, float]) -> None:
    assert effect_words(_rows(effect(**changes)), "cot")[1] == "No effect beyond that of random neurons is shown."


def test_too_few_random_sets_and_a_low_accuracy_are_pointed_out() -> None:
    words = effect_words(_rows(effect(control_draws=5, p_value=1 / 6, untouched=0.05)), "cot")
    assert words[-2] == (
        "With 5 random sets p cannot fall below 0.17, so this run could not have shown an effect at the 5% level; set "
        "intervene.control_draws to 19 or more."
    )
    assert "little room" in words[-1]


def test_without_random_sets_nothing_is_claimed() -> None:
    words = effect_words(_rows(uncontrolled()), "cot")
    assert "No random sets were edited" in words[1]
    assert len(words) == 2


def test_of_several_sets_those_with_an_effect_after_correction_are_named() -> None:
    others = [effect(target="concept:add"), effect(target="concept:logic", q_value=0.2)]
    assert (
        "Of 3 sets and edits that were compared, 2 cost more right answers than their random sets with q below 5%: "
        "reasoning (74) and add (14)."
    ) in effect_words(_rows(effect(), *others), "cot")
    none = [effect(q_value=0.2), *(row | {"q_value": 0.2} for row in others)]
    assert "none costs more right answers than its random sets with q below 5%." in effect_words(_rows(*none), "cot")[2]


def _perplexity(**changes: object) -> dict[str, Any]:
    return effect(measure="perplexity", untouched=20.0, value=24.0, difference=0.18, q_value=0.5) | changes


def _questions(**changes: object) -> dict[str, Any]:
    return effect(measure="questions", difference=-0.02, q_value=0.5) | changes


def _losses(*rows: dict[str, Any]) -> list[str]:
    return loss_words(loss_rows(_rows(*rows)))


def test_a_loss_of_answers_alone_is_told_from_a_broken_model() -> None:
    words = _losses(effect(), _perplexity(), _questions())
    assert words[0] == (
        "The same edit multiplied the perplexity of plain text by 1.20 and changed right answers to questions without "
        "arithmetic by −2.0 points."
    )
    assert "calculates worse without being broken" in words[1]


@pytest.mark.parametrize("general", [_perplexity(q_value=0.01), _questions(q_value=0.01)])
def test_a_loss_of_more_than_answers_is_said(general: dict[str, Any]) -> None:
    assert "the edit harms more than arithmetic" in _losses(effect(), general)[1]


def test_no_loss_beyond_random_sets_is_said() -> None:
    assert "Not one of these losses" in _losses(effect(q_value=0.5), _perplexity())[1]
    assert "no sign of arithmetic" in _losses(effect(q_value=0.5), _perplexity(q_value=0.01))[1]
    assert "can’t be told" in _losses(uncontrolled(), uncontrolled(measure="questions"))[1]
    assert _losses(effect()) == []


def test_what_is_left_alone_suffices_where_it_saves_more_than_random_sets() -> None:
    saved = effect(scope="rest", value=0.5, random=0.1, random_low=0.0, random_high=0.2)
    assert "saves more than leaving random ones alone" in rest_words(_rows(saved))[1]
    assert "is not shown" in rest_words(_rows(saved | {"p_value": 0.06}))[1]
    assert rest_words(_rows(effect())) == []
