"""What each variant changes in the prompt, and that it changes nothing else.

A prompt is taken apart into demonstrations and these into lines; every pair of variants is then compared.
"""

import itertools
import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.data.arithmetic import evaluate
from cotlens.data.demonstrations import load_demonstrations
from cotlens.data.variants import CUE, VARIANTS, Variant, build_prompt, check_variants
from cotlens.errors import InputError

QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"
PLACES = range(8)

EQUATION = re.compile(r"(?P<expression>\d+(?: [-+*/] \d+)+) = (?P<result>\d+)")
ANSWER = re.compile(r"The answer is (\d+)\.")

each_variant = pytest.mark.parametrize("variant", list(VARIANTS))
each_pair = pytest.mark.parametrize(("one", "other"), list(itertools.combinations(VARIANTS, 2)))
each_place = pytest.mark.parametrize("place", PLACES)


class Shown(NamedTuple):
    """One demonstration as a prompt shows it."""

    question: str
    steps: list[str]
    answer: str

    def equations(self) -> list[tuple[str, str]]:
        return [(m["expression"], m["result"]) for step in self.steps for m in EQUATION.finditer(step)]


def _take_apart(prompt: str) -> tuple[list[Shown], str]:
    """The demonstrations, and the last block, which asks the question."""
    *blocks, last = prompt.split("\n\n")
    shown = []
    for block in blocks:
        question, cue, *steps, answer = block.split("\n")
        assert cue + "\n" == CUE
        shown.append(Shown(question, steps, answer))
    return shown, last


def _shown(variant: str) -> list[Shown]:
    return _take_apart(build_prompt(variant, QUESTION))[0]


def test_the_four_variants_are_there_with_cot_first():
    assert list(VARIANTS)[:4] == ["cot", "equation_only", "text_only", "incorrect_label"]


@each_variant
def test_each_variant_is_described(variant):
    assert VARIANTS[variant].description


def test_cot_prompt_with_one_shot_reads_as_written_here():
    assert build_prompt("cot", QUESTION, shots=1) == (
        "Question: An orchard has 15 pear trees. This morning the gardeners plant some more, and then there are 21 "
        "pear trees. How many did they plant?\n"
        "Let's think step by step\n"
        "At first the orchard has 15 pear trees.\n"
        "After the planting it has 21 pear trees.\n"
        "So the gardeners planted 21 - 15 = 6 pear trees.\n"
        "The answer is 6.\n"
        "\n"
        f"Question: {QUESTION}\n"
        "Let's think step by step\n"
    )


@pytest.mark.parametrize(
    ("variant", "solution"),
    [
        ("equation_only", ["32 + 42 = 74.", "74 - 35 = 39.", "The answer is 39."]),
        (
            "text_only",
            [
                "Mira has 32 marbles and her brother has 42 marbles.",
                "Together they have 74 marbles.",
                "Then they lose 35 marbles.",
                "So 39 marbles are left.",
                "The answer is 39.",
            ],
        ),
        (
            "incorrect_label",
            [
                "Mira has 32 marbles and her brother has 42 marbles.",
                "Together they have 32 + 42 = 73 marbles.",
                "Then they lose 35 marbles.",
                "So 73 - 35 = 37 marbles are left.",
                "The answer is 37.",
            ],
        ),
    ],
)
def test_a_solution_of_two_steps_reads_as_written_here(variant, solution):
    shown = _shown(variant)[2]
    assert [*shown.steps, shown.answer] == solution


@each_variant
def test_a_prompt_ends_with_the_very_cue_that_the_demonstrations_use(variant):
    prompt = build_prompt(variant, QUESTION)
    shown, last = _take_apart(prompt)
    assert last == f"Question: {QUESTION}\n{CUE}"
    assert len(re.findall(f"^{re.escape(CUE)}", prompt, re.MULTILINE)) == len(shown) + 1 == 9


@each_variant
@pytest.mark.parametrize("shots", range(9))
def test_so_many_shots_are_shown_and_fewer_shots_are_the_first_of_more(variant, shots):
    shown, last = _take_apart(build_prompt(variant, QUESTION, shots))
    assert len(shown) == shots
    assert shown == _shown(variant)[:shots]
    assert last == f"Question: {QUESTION}\n{CUE}"


@each_variant
def test_eight_shots_are_the_default(variant):
    assert build_prompt(variant, QUESTION) == build_prompt(variant, QUESTION, shots=8)


def test_all_variants_agree_without_demonstrations():
    assert {build_prompt(variant, QUESTION, shots=0) for variant in VARIANTS} == {f"Question: {QUESTION}\n{CUE}"}


@each_variant
def test_demonstrations_do_not_depend_on_the_question(variant):
    one, other = build_prompt(variant, "One?"), build_prompt(variant, "Another one?")
    assert one.removesuffix(f"One?\n{CUE}") == other.removesuffix(f"Another one?\n{CUE}")


@each_variant
def test_whitespace_is_regular(variant):
    prompt = build_prompt(variant, QUESTION)
    assert "\n\n\n" not in prompt
    assert "  " not in prompt
    assert not re.search(r"[ \t]\n|\n[ \t]|\r|\t", prompt)
    assert prompt.isascii()
    assert prompt.count("\n\n") == 8


@each_variant
def test_nothing_is_left_to_fill_in(variant):
    assert not re.search(r"[{}]|\br\d", build_prompt(variant, QUESTION))


@each_pair
def test_two_variants_share_questions_cue_and_the_form_of_the_answer_sentence(one, other):
    ours, theirs = _shown(one), _shown(other)
    assert [shown.question for shown in ours] == [shown.question for shown in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert ANSWER.fullmatch(mine.answer)
        assert ANSWER.fullmatch(yours.answer)


@each_pair
def test_two_variants_differ_in_every_demonstration(one, other):
    assert all(mine != yours for mine, yours in zip(_shown(one), _shown(other), strict=True))


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([v for v in VARIANTS if v != "incorrect_label"], 2))
)
def test_variants_with_right_results_share_the_answer_sentence_byte_for_byte(one, other):
    assert [shown.answer for shown in _shown(one)] == [shown.answer for shown in _shown(other)]


@each_place
def test_text_only_is_cot_with_each_equation_replaced_by_its_result(place):
    cot, text = _shown("cot")[place], _shown("text_only")[place]
    assert text.steps == [EQUATION.sub(lambda match: match["result"], step) for step in cot.steps]
    assert cot.equations()
    assert not text.equations()
    assert not re.search(r"[=+*/]|\d -", " ".join(text.steps))


@each_place
def test_equation_only_is_cot_with_all_but_the_equations_left_out(place):
    cot, equations = _shown("cot")[place], _shown("equation_only")[place]
    assert equations.steps == [f"{expression} = {result}." for expression, result in cot.equations()]
    assert not re.search(r"[A-Za-z]", " ".join(equations.steps))


@each_place
def test_equation_only_and_text_only_show_the_same_results_in_the_same_order(place):
    equations, text = _shown("equation_only")[place], _shown("text_only")[place]
    calculating = [step for step in load_demonstrations()[place].steps if step.expression is not None]
    sentences = [sentence for sentence in text.steps if sentence not in _facts(place)]
    assert len(sentences) == len(equations.steps) == len(calculating)
    for (_, result), sentence, step in zip(equations.equations(), sentences, calculating, strict=True):
        assert sentence == step.sentence.replace("{equation}", result)


@each_place
def test_incorrect_label_is_cot_with_other_results_and_nothing_else_changed(place):
    cot, wrong = _shown("cot")[place], _shown("incorrect_label")[place]
    replaced = {}
    for (expression, right), (wrong_expression, result) in zip(cot.equations(), wrong.equations(), strict=True):
        shown_in_cot = [replaced.get(number, number) for number in expression.split(" ")]
        assert wrong_expression.split(" ") == shown_in_cot
        replaced[right] = result
    assert [EQUATION.sub("#", step) for step in wrong.steps] == [EQUATION.sub("#", step) for step in cot.steps]
    assert ANSWER.sub("#", wrong.answer) == ANSWER.sub("#", cot.answer)


@each_place
def test_equation_only_and_incorrect_label_share_operators_and_the_numbers_of_the_question(place):
    right, wrong = _shown("equation_only")[place], _shown("incorrect_label")[place]
    right_results = {result for _, result in right.equations()}
    for (one, _), (other, _) in zip(right.equations(), wrong.equations(), strict=True):
        for mine, yours in zip(one.split(" "), other.split(" "), strict=True):
            assert mine == yours or mine in right_results


@each_place
def test_text_only_and_incorrect_label_share_every_sentence_but_its_equation(place):
    text, wrong = _shown("text_only")[place], _shown("incorrect_label")[place]
    steps = load_demonstrations()[place].steps
    assert len(text.steps) == len(wrong.steps) == len(steps)
    for right_sentence, wrong_sentence, step in zip(text.steps, wrong.steps, steps, strict=True):
        before, _, after = step.sentence.partition("{equation}")
        for sentence in (right_sentence, wrong_sentence):
            assert sentence.startswith(before)
            assert sentence.endswith(after)
        assert (right_sentence == wrong_sentence) == (step.expression is None)


@each_place
def test_sentences_that_state_a_fact_are_the_same_wherever_they_stand(place):
    for variant in ("cot", "text_only", "incorrect_label"):
        assert [step for step in _shown(variant)[place].steps if step in _facts(place)] == _facts(place)


@pytest.mark.parametrize("variant", ["cot", "equation_only"])
@each_place
def test_shown_equations_are_right_and_the_last_one_gives_the_answer(variant, place):
    shown = _shown(variant)[place]
    results = [evaluate(result) for _, result in shown.equations()]
    assert results == [evaluate(expression) for expression, _ in shown.equations()]
    assert results == load_demonstrations()[place].results()
    assert ANSWER.fullmatch(shown.answer)[1] == shown.equations()[-1][1]


@each_place
def test_text_only_gives_the_right_answer(place):
    answer = ANSWER.fullmatch(_shown("text_only")[place].answer)[1]
    assert evaluate(answer) == load_demonstrations()[place].results()[-1]


@each_place
def test_incorrect_label_shows_results_that_are_false_in_both_senses(place):
    true = load_demonstrations()[place].results()
    shown = _shown("incorrect_label")[place]
    assert len(shown.equations()) == len(true)
    for (expression, result), truth in zip(shown.equations(), true, strict=True):
        assert evaluate(result) != truth
        assert evaluate(result) != evaluate(expression)
        assert evaluate(result) > 0


@each_place
def test_incorrect_label_ends_in_its_own_last_wrong_result(place):
    shown = _shown("incorrect_label")[place]
    answer = ANSWER.fullmatch(shown.answer)[1]
    assert answer == shown.equations()[-1][1]
    assert evaluate(answer) != load_demonstrations()[place].results()[-1]


@each_place
def test_incorrect_label_carries_wrong_results_into_later_steps(place):
    steps = [step for step in load_demonstrations()[place].steps if step.expression is not None]
    equations = _shown("incorrect_label")[place].equations()
    names = {f"r{number}": result for number, (_, result) in enumerate(equations, start=1)}
    for step, (expression, _) in zip(steps, equations, strict=True):
        assert expression == re.sub(r"r\d+", lambda match: names[match[0]], step.expression)


def test_incorrect_label_has_demonstrations_in_which_there_is_something_to_carry():
    assert sum(len(shown.equations()) > 1 for shown in _shown("incorrect_label")) >= 4


@each_variant
def test_a_prompt_is_the_same_every_time(variant):
    assert build_prompt(variant, QUESTION) == build_prompt(variant, QUESTION)


@given(st.text(max_size=80), st.sampled_from(list(VARIANTS)), st.integers(0, 8))
def test_any_question_stands_in_the_prompt_as_it_is(question, variant, shots):
    assert build_prompt(variant, question, shots).endswith(f"Question: {question}\n{CUE}")


@pytest.mark.parametrize("shots", [-1, 9, 100])
def test_shots_beyond_the_bundled_set_are_refused(shots):
    with pytest.raises(InputError, match=f"shots is {shots}; give 0 to 8"):
        build_prompt("cot", QUESTION, shots)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("equation-only", "equation_only"), ("textonly", "text_only"), ("incorect_label", "incorrect_label")],
)
def test_a_misspelt_variant_gets_the_nearest_name(misspelt, meant):
    expected = f"variant '{misspelt}' is not known; did you mean '{meant}'\\?"
    with pytest.raises(InputError, match=expected):
        build_prompt(misspelt, QUESTION)
    with pytest.raises(InputError, match=expected):
        check_variants(["cot", misspelt])


def test_an_unknown_variant_like_none_of_them_gets_the_list():
    with pytest.raises(InputError, match="known: cot, equation_only, incorrect_label, text_only"):
        build_prompt("zzz", QUESTION)


def test_known_variants_pass_the_check():
    check_variants(list(VARIANTS))


def test_a_new_variant_is_one_entry(monkeypatch):
    shout = Variant("no solution at all", lambda demo, place: [f"{place}: {len(demo.steps)} steps!"])
    monkeypatch.setitem(VARIANTS, "shout", shout)
    shown, last = _take_apart(build_prompt("shout", QUESTION, shots=2))
    assert [block.answer for block in shown] == ["0: 3 steps!", "1: 3 steps!"]
    assert last == f"Question: {QUESTION}\n{CUE}"


def _facts(place: int) -> list[str]:
    return [step.sentence for step in load_demonstrations()[place].steps if step.expression is None]
