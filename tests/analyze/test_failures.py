from decimal import Decimal

import pytest

from cotlens.analyze.failures import CLASSES, classify
from cotlens.data.answers import grade, is_correct


def _classify(text: str, gold: str, stop_reason: str = "stop"):  # type: ignore[no-untyped-def]
    strict, _ = grade(text)
    return classify(text, Decimal(gold), strict is not None, is_correct(strict, Decimal(gold)), stop_reason)


CASES = [
    ("He has 4 + 9 = 13 pens. The answer is 13.", "13", "correct"),
    ("He has 4 + 9 = 14 pens. The answer is 14.", "13", "arithmetic_slip"),
    ("4 + 9 = 13. 13 * 2 = 26. The answer is 13.", "26", "right_equations"),
    ("4 * 9 = 36. The answer is 36.", "13", "wrong_plan"),
    ("Ann has 4 and Bob 9, so together 12. The answer is 12.", "13", "no_equation"),
    ("4 + 9 = 13", "13", "bad_format"),
    ("I can't tell.", "13", "bad_format"),
    ("Then Ann goes home and she sees that she has 4 pe", "13", "truncated"),
    ("Ann has 4 pens. " * 6, "13", "repetition"),
    ("lantern + copper = velvet. The answer is 5.", "13", "no_equation"),
    ("4 / 0 = 0. The answer is 0.", "13", "no_equation"),
]


@pytest.mark.parametrize(("text", "gold", "kind"), CASES)
def test_each_class_is_told_by_its_rule(text: str, gold: str, kind: str) -> None:
    stop = "length" if kind in ("truncated", "repetition") else "stop"
    assert _classify(text, gold, stop).kind == kind
    assert kind in CLASSES


def test_a_stated_answer_in_a_loop_fails_by_its_equations() -> None:
    assert _classify("4 * 9 = 36. The answer is 36. " * 5, "13", "length").kind == "wrong_plan"


def test_a_solution_before_an_invented_question_was_not_cut() -> None:
    run_on = "Ann has 4 pens.\n\nQuestion: Ben has 3 hats and gives aw"
    assert _classify(run_on, "13", "length").kind == "bad_format"


@pytest.mark.parametrize(
    "equation",
    [
        "20% * 50 = 10", "20% + 30% = 50%", "5 / 20 = 25%", "$1,200 / 3 = $400", "10 / 3 = 3.33", "2 / 3 = 0.67",
        "3 boxes * $2.50 = $7.50", "5 × 4 = 20", "6 - -3 = 9",
    ],
)  # fmt: skip
def test_equations_that_hold_as_people_write_them_are_no_slips(equation: str) -> None:
    found = _classify(f"{equation}. The answer is 999999.", "1")
    assert (found.slips, found.kind) == (0, "wrong_plan")
    assert found.equations == 1


@pytest.mark.parametrize("equation", ["20% * 50 = 100", "10 / 3 = 3", "10 / 3 = 3.43", "7 * 8 = 54", "2 - 3 = 1"])
def test_equations_that_do_not_hold_are_slips(equation: str) -> None:
    assert _classify(f"{equation}. The answer is 999999.", "1").slips == 1


def test_a_slip_is_carried_on_to_see_whether_the_plan_was_right() -> None:
    right_plan = _classify("3 * 4 = 11. 11 + 5 = 16. The answer is 16.", "17")
    assert (right_plan.kind, right_plan.slips, right_plan.right_if_executed) == ("arithmetic_slip", 1, True)
    wrong_plan = _classify("3 * 4 = 11. 11 - 5 = 6. The answer is 6.", "17")
    assert (wrong_plan.kind, wrong_plan.right_if_executed) == ("arithmetic_slip", False)
    twice = _classify("3 * 4 = 11. 11 + 5 = 15. 15 * 2 = 30. The answer is 30.", "34")
    assert (twice.slips, twice.right_if_executed) == (2, True)


def test_what_follows_the_answer_does_not_count() -> None:
    text = "4 * 9 = 36. The answer is 36.\n\nQuestion: What is 1 + 1?\n1 + 1 = 3. The answer is 3."
    assert (_classify(text, "13").equations, _classify(text, "13").slips) == (1, 0)
    assert _classify("4 * 9 = 36. The answer is 36.\n1 + 1 = 3.", "13").slips == 0
    assert _classify("The answer is 4 * 9 = 36.", "13").equations == 1


def test_no_text_is_executed() -> None:
    found = _classify("__import__('os').system('x') + 1 = 2. 9**9**9**9 = 1. The answer is 3.", "13")
    assert found.kind in ("no_equation", "arithmetic_slip")
