"""Demonstrations with other operands: which numbers may stand where, and what happens if there are none."""

import re
from fractions import Fraction

import pytest

from cotlens.data.demonstrations import Demonstration, Step, load_demonstrations
from cotlens.data.operands import other_operands
from cotlens.errors import DataError

BUNDLED = [demo for name in ("everyday", "workshop", "journey") for demo in load_demonstrations(name)]
NUMBER = re.compile(r"(?<![r\d.,])\d+(?:,\d{3})*(?:\.\d+)?")


def written(demo: Demonstration) -> list[str]:
    """The numbers of the solution as they are written, in order, names of results left out."""
    return [number for step in demo.steps for text in (step.sentence, step.expression or "")
            for number in NUMBER.findall(text)]  # fmt: skip


def outline(demo: Demonstration) -> list[str]:
    return [NUMBER.sub("#", text) for step in demo.steps for text in (step.sentence, step.expression or "")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("demo", BUNDLED, ids=lambda demo: demo.question[:24])
def test_only_the_solutions_numbers_change_each_to_one_of_as_many_digits(demo, seed):
    other = other_operands(demo, seed)
    assert other.question == demo.question
    assert outline(other) == outline(demo)
    replaced = set(zip(written(demo), written(other), strict=True))
    assert len(replaced) == len({old for old, _ in replaced}) == len({new for _, new in replaced})
    assert all(len(old) == len(new) for old, new in replaced)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("demo", BUNDLED, ids=lambda demo: demo.question[:24])
def test_no_number_or_result_is_the_questions_or_a_true_result(demo, seed):
    other = other_operands(demo, seed)
    words = {"two": 2, "three": 3, "four": 4}
    asked = {Fraction(number) for number in NUMBER.findall(demo.question)}
    asked |= {Fraction(number) for word, number in words.items() if word in demo.question.lower().split()}
    used = {Fraction(number) for number in written(other)} | set(other.results())
    assert not used & (asked | set(demo.results()))
    assert all(result > 1 and result.denominator == 1 for result in other.results())


def test_the_same_seed_gives_the_same_numbers_and_others_give_others():
    demo = BUNDLED[6]
    assert other_operands(demo, 3) == other_operands(demo, 3)
    assert len({tuple(written(other_operands(demo, seed))) for seed in range(10)}) == 10


def test_numbers_are_one_wherever_they_stand_and_however_they_are_written():
    demo = Demonstration(
        "How many are 1,250?", (Step("It costs $1,250."), Step("A half is {equation}.", "1250 / 2"), Step("Not 1250."))
    )
    fact, half, again = other_operands(demo, 0).steps
    new = half.expression.removesuffix(f" / {half.expression[-1]}")
    assert re.fullmatch(r"\d{4}", new)
    assert new != "1250"
    assert fact.sentence == f"It costs ${new[0]},{new[1:]}."
    assert again.sentence == f"Not {new}."


@pytest.mark.parametrize("seed", range(10))
def test_numbers_in_the_words_of_the_question_are_not_taken(seed):
    demo = Demonstration("Two, Three, four or five of six or SEVEN boxes?", (Step("It is {equation}.", "9 * 9"),))
    assert other_operands(demo, seed).steps[0].expression == "8 * 8"


def test_decimals_keep_their_places_and_results_that_are_no_whole_numbers_need_not_become_whole():
    demo = Demonstration("What do they cost?", (Step("{equation}.", "2.50 * 3"), Step("{equation}.", "r1 / 2")))
    first, second = other_operands(demo, 0).steps
    assert re.fullmatch(r"\d\.\d\d \* \d", first.expression)
    assert re.fullmatch(r"r1 / \d", second.expression)
    assert "2.50" not in first.expression


def test_names_of_results_and_numbers_in_words_of_the_solution_stay():
    demo = Demonstration("How many?", (Step("Both of the two, {equation}.", "4 + 5"), Step("{equation}", "r1 + 3")))
    first, second = other_operands(demo, 0).steps
    assert first.sentence == "Both of the two, {equation}."
    assert second.expression.startswith("r1 + ")


def test_where_no_other_numbers_fit_the_demonstration_and_the_remedy_are_named():
    demo = Demonstration("What is left of 2 3 4 5 6 7 8 9?", (Step("{equation}", "5 - 4"),))
    with pytest.raises(DataError) as caught:
        other_operands(demo, 0)
    assert str(caught.value) == (
        "the demonstration 'What is left of 2 3 4 5 6 7 8 9?' has no other numbers that give whole results; "
        "leave out the variant irrelevant_operands or change the demonstration"
    )


def test_a_division_by_zero_is_no_fit():
    demo = Demonstration("How many?", (Step("{equation}", "8 - 4"), Step("{equation}", "8 / (r1 - 2)")))
    for seed in range(20):
        assert all(result > 1 and result.denominator == 1 for result in other_operands(demo, seed).results())
