"""The completion that is walked through: which one, and what is said of its tokens."""

from collections.abc import Callable
from typing import Any

from cotlens.report.walkthrough import Walk, walk_through


def walk(run: Any) -> Walk | None:
    return walk_through(run, run.concepts(), run.neurons())


def test_texts_and_roles_are_those_stored(report: Any) -> None:
    found = walk(report.run)
    assert found is not None
    assert [step.text for step in found.steps[:5]] == ["The", "␣sum", "␣is", "␣4", "␣+"]
    assert [step.gloss for step in found.steps] == [
        *[""] * 3, "opd", "op", "opd", "eq", "res", "res", *[""] * 4, "ans", "",
    ]  # fmt: skip
    assert [step.index for step in found.steps if step.continues and step.gloss] == [8]  # the second digit of 13
    assert list(found.glosses) == ["operand", "operator", "equals", "result", "answer"]
    assert found.steps[9].breaks == 1
    assert found.stated == ""


def test_a_token_without_a_text_of_its_own_goes_by_its_number(report_of: Callable[..., Any]) -> None:
    found = walk(report_of(tokens=["🙂", "", " is"]).run)
    assert found is not None
    assert [step.text for step in found.steps] == ["🙂", "‹1›", "␣is"]


def test_without_token_texts_there_is_no_walk(report_of: Callable[..., Any]) -> None:
    assert walk(report_of(stored_tokens=False).run) is None


def test_the_second_answer_of_two_stages_is_kept(report_of: Callable[..., Any]) -> None:
    found = walk(report_of(variants=("zero_shot",)).run)
    assert found is not None
    assert found.stated == " 13."
