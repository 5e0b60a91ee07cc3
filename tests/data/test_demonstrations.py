import re
from fractions import Fraction

import pytest

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.data.demonstrations import Demonstration, Step, load_demonstrations, result_names
from cotlens.errors import DataError

DEMONSTRATIONS = load_demonstrations()
IN_WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8"}

each_demonstration = pytest.mark.parametrize(
    "demo", DEMONSTRATIONS, ids=[demo.question.split()[1] for demo in DEMONSTRATIONS]
)


def _numbers(text: str) -> set[str]:
    words = re.findall(r"[A-Za-z]+|\d+(?:\.\d+)?", text)
    return {IN_WORDS.get(word.lower(), word) for word in words if word[0].isdigit() or word.lower() in IN_WORDS}


def test_there_are_exactly_eight():
    assert len(DEMONSTRATIONS) == 8


def test_questions_are_all_different():
    assert len({demo.question for demo in DEMONSTRATIONS}) == 8


def test_all_four_operators_occur():
    text = " ".join(step.expression or "" for demo in DEMONSTRATIONS for step in demo.steps)
    assert set("+-*/") <= set(text)


@each_demonstration
def test_every_expression_evaluates_to_a_positive_whole_number(demo):
    results = demo.results()
    assert len(results) == sum(step.expression is not None for step in demo.steps) >= 1
    assert all(result.denominator == 1 and result > 0 for result in results)


@each_demonstration
def test_the_last_step_calculates_the_answer(demo):
    assert demo.steps[-1].expression is not None


@each_demonstration
def test_a_sentence_has_one_place_for_an_equation_exactly_if_it_has_an_expression(demo):
    for step in demo.steps:
        places = re.findall(r"\{[^}]*\}", step.sentence)
        assert places == (["{equation}"] if step.expression is not None else [])
        assert step.sentence.replace("{equation}", "").count("{") == 0
        assert step.sentence.replace("{equation}", "").count("}") == 0


@each_demonstration
def test_numbers_in_the_sentences_come_from_the_question_or_an_earlier_result(demo):
    known = _numbers(demo.question)
    results = iter(demo.results())
    for step in demo.steps:
        assert _numbers(step.sentence.replace("{equation}", "")) <= known
        if step.expression is not None:
            known.add(plain_number(next(results)))


@each_demonstration
def test_numbers_in_the_expressions_come_from_the_question_and_names_from_earlier_steps(demo):
    earlier = set()
    for step in demo.steps:
        if step.expression is None:
            continue
        names = set(re.findall(r"r\d+", step.expression))
        assert names <= earlier
        assert _numbers(re.sub(r"r\d+", "", step.expression)) <= _numbers(demo.question)
        earlier.add(f"r{len(earlier) + 1}")


@each_demonstration
def test_text_is_one_line_of_plain_characters(demo):
    for text in [demo.question, *(step.sentence for step in demo.steps)]:
        assert text.isascii()
        assert text == " ".join(text.split())
    assert demo.question.endswith("?")
    assert all(step.sentence.endswith(".") for step in demo.steps)


def test_loading_twice_gives_the_same_set():
    assert load_demonstrations() is load_demonstrations()


def test_results_carries_earlier_results_into_later_steps():
    demo = Demonstration(
        "Six, then a third of it, then both?",
        (Step("A fact."), Step("{equation}", "2 * 3"), Step("{equation}", "r1 / 3"), Step("{equation}", "r1 + r2")),
    )
    assert demo.results() == [6, 2, 8]


def test_a_step_cant_use_its_own_or_a_later_result():
    with pytest.raises(DataError, match="'r1 \\+ 1' is not an arithmetic expression"):
        Demonstration("?", (Step("{equation}", "r1 + 1"),)).results()


def test_result_names_count_from_one():
    names = result_names([Fraction(5), Fraction(7)])
    assert names == {"r1": 5, "r2": 7}
    assert evaluate("r2 - r1", names) == 2
