"""The bundled demonstrations, every number of them checked, and how a set of them is named and loaded."""

import re
from fractions import Fraction
from itertools import product

import pytest

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.data.demonstrations import (
    DEMONSTRATION_SETS,
    Demonstration,
    Step,
    load_demonstrations,
    result_names,
)
from cotlens.errors import DataError

KINDS = ("mixed", "add_only", "mult_only")
BUNDLED = {
    f"{name}-{kind}-{place}": demo
    for name, kind in product(DEMONSTRATION_SETS, KINDS)
    for place, demo in enumerate(load_demonstrations(name, kind))
}
IN_WORDS = dict(zip("one two three four five six seven eight nine ten".split(), map(str, range(1, 11)), strict=True))

each_set = pytest.mark.parametrize("name", DEMONSTRATION_SETS)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_demonstration = pytest.mark.parametrize("demo", list(BUNDLED.values()), ids=list(BUNDLED))


def numbers(text: str) -> set[str]:
    words = re.findall(r"[a-z]+|\d+(?:\.\d+)?", text.lower())
    return {IN_WORDS.get(word, word) for word in words if word[0].isdigit() or word in IN_WORDS}


def signs(demo: Demonstration) -> set[str]:
    return set("".join(step.expression or "" for step in demo.steps)) & set("+-*/")


def profile(demo: Demonstration) -> list[bool]:
    """Which steps calculate."""
    return [step.expression is not None for step in demo.steps]


def length(demo: Demonstration) -> int:
    """Characters of question, sentences and expressions."""
    return len(demo.question) + sum(len(step.sentence) + len(step.expression or "") for step in demo.steps)


# The sets.


def test_three_sets_are_bundled_and_the_first_is_the_default():
    assert DEMONSTRATION_SETS == ("everyday", "workshop", "journey")
    assert load_demonstrations() == load_demonstrations("everyday", "mixed")
    assert load_demonstrations() is load_demonstrations()


@each_set
@each_kind
def test_each_list_has_exactly_eight_demonstrations(name, kind):
    assert len(load_demonstrations(name, kind)) == 8


def test_questions_are_all_different():
    assert len({demo.question for demo in BUNDLED.values()}) == len(BUNDLED) == 72


@each_set
def test_mixed_demonstrations_use_all_four_operators(name):
    assert set.union(*(signs(demo) for demo in load_demonstrations(name))) == set("+-*/")


@each_set
@pytest.mark.parametrize(("kind", "sign"), [("add_only", "+"), ("mult_only", "*")])
def test_the_other_lists_use_one_operator_in_every_demonstration(name, kind, sign):
    assert all(signs(demo) == {sign} for demo in load_demonstrations(name, kind))


@each_set
@pytest.mark.parametrize("kind", ["add_only", "mult_only"])
def test_relatives_calculate_at_the_same_places_and_are_about_as_long(name, kind):
    mixed, relatives = load_demonstrations(name), load_demonstrations(name, kind)
    assert [profile(demo) for demo in relatives] == [profile(demo) for demo in mixed]
    for demo, relative in zip(mixed, relatives, strict=True):
        assert length(relative) == pytest.approx(length(demo), rel=0.10)
    assert sum(map(length, relatives)) == pytest.approx(sum(map(length, mixed)), rel=0.03)


@each_set
@each_kind
def test_as_many_lines_and_equations_in_each_set(name, kind):
    steps = [step for demo in load_demonstrations(name, kind) for step in demo.steps]
    assert sum(step.expression is not None for step in steps) == 13
    assert len(steps) in (28, 29)


# Each demonstration.


@each_demonstration
def test_every_expression_is_one_operation_with_a_positive_whole_result(demo):
    results = demo.results()
    assert all(result.denominator == 1 and result > 0 for result in results)
    calculating = [step.expression for step in demo.steps if step.expression is not None]
    assert len(results) == len(calculating) >= 1
    assert all(re.fullmatch(r"(\d+|r\d) [-+*/] (\d+|r\d)", expression) for expression in calculating)


@each_demonstration
def test_the_last_step_calculates_the_answer(demo):
    assert demo.steps[-1].expression is not None


@each_demonstration
def test_a_sentence_has_one_place_for_an_equation_exactly_if_it_has_an_expression(demo):
    for step in demo.steps:
        assert step.sentence.count("{equation}") == (step.expression is not None)
        assert not set("{}") & set(step.sentence.replace("{equation}", ""))


@each_demonstration
def test_numbers_come_from_the_question_and_names_from_earlier_steps(demo):
    asked, earlier = numbers(demo.question), set()
    for step in demo.steps:
        assert numbers(step.sentence.replace("{equation}", "")) <= asked
        if step.expression is not None:
            assert set(re.findall(r"r\d+", step.expression)) <= earlier
            assert numbers(re.sub(r"r\d+", "", step.expression)) <= asked
            earlier.add(f"r{len(earlier) + 1}")


@each_demonstration
def test_every_earlier_result_is_used(demo):
    text = " ".join(step.expression or "" for step in demo.steps)
    assert set(re.findall(r"r\d+", text)) == {f"r{n}" for n in range(1, len(demo.results()))}


@each_demonstration
def test_no_result_is_a_number_of_the_question(demo):
    assert not {plain_number(result) for result in demo.results()} & numbers(demo.question)


@each_demonstration
def test_text_is_one_line_of_plain_characters(demo):
    for text in [demo.question, *(step.sentence for step in demo.steps)]:
        assert text.isascii()
        assert text == " ".join(text.split())
    assert demo.question.endswith("?")
    assert all(step.sentence.endswith(".") for step in demo.steps)


# Results.


def test_results_carries_earlier_results_into_later_steps():
    demo = Demonstration(
        "Six, then a third of it, then both?",
        (Step("A fact."), Step("{equation}", "2 * 3"), Step("{equation}", "r1 / 3"), Step("{equation}", "r1 + r2")),
    )
    assert demo.results() == [6, 2, 8]


def test_a_step_cant_use_its_own_or_a_later_result():
    with pytest.raises(DataError, match=r"'r1 \+ 1' is not an arithmetic expression"):
        Demonstration("?", (Step("{equation}", "r1 + 1"),)).results()


def test_result_names_count_from_one():
    names = result_names([Fraction(5), Fraction(7)])
    assert names == {"r1": 5, "r2": 7}
    assert evaluate("r2 - r1", names) == 2
