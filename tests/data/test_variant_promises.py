"""What each variant promises by itself, over all bundled sets."""

import operator
import re
from fractions import Fraction
from importlib import resources

import pytest

from cotlens.config import PromptConfig
from cotlens.data import build_prompt, make_template
from cotlens.data.demonstrations import load_demonstrations
from cotlens.data.prompts import Template

SETS = ("everyday", "workshop", "journey")
CORRECT = ("cot", "equation_only", "add_only", "mult_only", "recall_then_infer", "shuffled_steps")
QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
EQUATION = re.compile(r"(\d+|[a-z]+) ([-+*/]) (\d+|[a-z]+) = (\d+|[a-z]+)")
IN_WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8"}

each_set = pytest.mark.parametrize("demonstrations", SETS)

Block = tuple[str, list[str], str]


def blocks(variant: str, demonstrations: str, **settings: int) -> list[Block]:
    """Question, solution lines and answer of each demonstration."""
    found = []
    for block in build_prompt(variant, QUESTION, demonstrations=demonstrations, **settings).split("\n\n")[:-1]:
        question, _, *lines, answer = block.split("\n")
        found.append((question.removeprefix("Question: "), lines, answer.removeprefix("The answer is ")[:-1]))
    return found


def equations(lines: list[str]) -> list[tuple[str, str, str, str]]:
    return [found for line in lines for found in EQUATION.findall(line)]


def value(left: str, sign: str, right: str) -> Fraction:
    return OPERATIONS[sign](Fraction(left), Fraction(right))


def numbers(text: str) -> set[str]:
    return {IN_WORDS.get(word, word) for word in re.findall(r"\d+|[a-z]+", text.lower())}


def pairs(one: str, other: str, demonstrations: str) -> list[tuple[Block, Block]]:
    return list(zip(blocks(one, demonstrations), blocks(other, demonstrations), strict=True))


# Right results.


@each_set
@pytest.mark.parametrize("variant", [*CORRECT, "irrelevant_operands"])
def test_shown_equations_are_right_and_one_of_them_gives_the_answer(variant, demonstrations):
    for _, lines, answer in blocks(variant, demonstrations):
        shown = equations(lines)
        assert all(value(*parts) == Fraction(result) for *parts, result in shown)
        assert answer in {result for *_, result in shown}
        assert variant == "shuffled_steps" or answer == shown[-1][-1]


@each_set
def test_text_only_states_the_results_of_cot_without_a_sign_of_arithmetic(demonstrations):
    for (_, cot, right), (_, lines, answer) in pairs("cot", "text_only", demonstrations):
        assert lines == [EQUATION.sub(r"\4", line) for line in cot]
        assert answer == right
        assert not re.search(r"[=+*/]|\d -", " ".join(lines))


@each_set
def test_equation_only_has_the_equations_of_cot_and_not_a_letter(demonstrations):
    for (_, cot, right), (_, lines, answer) in pairs("cot", "equation_only", demonstrations):
        assert equations(lines) == equations(cot)
        assert answer == right
        assert not re.search(r"[A-Za-z]", " ".join(lines))


@each_set
def test_cot_uses_all_four_operators(demonstrations):
    assert {sign for _, lines, _ in blocks("cot", demonstrations) for _, sign, _, _ in equations(lines)} == set("+-*/")


@each_set
@pytest.mark.parametrize(("variant", "sign"), [("add_only", "+"), ("mult_only", "*")])
def test_demonstrations_of_one_operator_have_the_shape_and_length_of_the_mixed_ones(variant, sign, demonstrations):
    mixed, own = blocks("cot", demonstrations), blocks(variant, demonstrations)
    assert {found[1] for _, lines, _ in own for found in equations(lines)} == {sign}
    assert len(own) == len(mixed) == 8
    for (question, lines, _), (own_question, own_lines, _) in zip(mixed, own, strict=True):
        assert own_question != question
        assert [len(equations([line])) for line in own_lines] == [len(equations([line])) for line in lines]
        assert length((own_question, own_lines, "")) == pytest.approx(length((question, lines, "")), rel=0.10)
    assert sum(map(length, own)) == pytest.approx(sum(map(length, mixed)), rel=0.03)


def length(block: Block) -> int:
    question, lines, answer = block
    return len(question) + sum(map(len, lines)) + len(answer)


# Wrong results.


@each_set
def test_incorrect_label_is_wrong_in_both_senses_and_carries_it_on(demonstrations):
    for (_, cot, right), (_, lines, answer) in pairs("cot", "incorrect_label", demonstrations):
        wrong: dict[str, str] = {}
        for (left, sign, second, true), shown in zip(equations(cot), equations(lines), strict=True):
            assert shown[:3] == (wrong.get(left, left), sign, wrong.get(second, second))
            assert shown[3] != true
            assert Fraction(shown[3]) != value(*shown[:3])
            assert int(shown[3]) > 0
            wrong[true] = shown[3]
        assert answer == equations(lines)[-1][3] != right


def test_a_wrong_result_is_positive_even_where_the_right_one_is_one(tmp_path):
    file = tmp_path / "own.yaml"
    step = "{sentence: 'It is {equation}.', expression: 4 - 3, result: 1}"
    file.write_text(f"- {{question: How many, steps: [{step}], answer: 1}}\n" * 8)
    shown = [equations(lines)[0][3] for _, lines, _ in blocks("incorrect_label", str(file))]
    assert shown == ["3", "4", "2", "5", "2", "7", "2", "6"]


@each_set
@pytest.mark.parametrize("variant", ["incorrect_label", "incorrect_ood_label"])
def test_there_are_demonstrations_in_which_something_is_carried_on(variant, demonstrations):
    assert sum(len(equations(lines)) > 1 for _, lines, _ in blocks(variant, demonstrations)) >= 4


@each_set
def test_incorrect_ood_label_shows_words_and_carries_them_on(demonstrations):
    for (_, cot, _), (_, lines, answer) in pairs("cot", "incorrect_ood_label", demonstrations):
        word: dict[str, str] = {}
        for (left, sign, second, true), shown in zip(equations(cot), equations(lines), strict=True):
            assert shown[:3] == (word.get(left, left), sign, word.get(second, second))
            assert re.fullmatch("[a-z]+", shown[3])
            word[true] = shown[3]
        assert answer == equations(lines)[-1][3]
        assert not set(re.findall(r"\d+", EQUATION.sub("", " ".join(lines)))) & set(word)


@each_set
@pytest.mark.parametrize("settings", [{}, {"order_seed": 3}])
def test_no_word_of_incorrect_ood_label_stands_for_two_results_or_in_a_demonstration(settings, demonstrations):
    shown = [found[3] for _, lines, _ in blocks("incorrect_ood_label", demonstrations, **settings)
             for found in equations(lines)]  # fmt: skip
    assert len(shown) == len(set(shown)) == 13
    folder = resources.files("cotlens.data").joinpath("demonstration_sets")
    bundled = " ".join(file.read_text().lower() for file in folder.iterdir() if file.name.endswith(".yaml"))
    assert not set(shown) & set(re.findall(r"[a-z]+", bundled))
    assert not set(shown) & set(IN_WORDS)


# Order.


@each_set
def test_shuffled_steps_are_the_lines_of_cot_in_another_order(demonstrations):
    for (_, cot, right), (_, lines, answer) in pairs("cot", "shuffled_steps", demonstrations):
        assert sorted(lines) == sorted(cot)
        assert lines != cot
        assert answer == right


def test_a_solution_of_one_line_or_of_equal_lines_is_not_shuffled(tmp_path):
    file = tmp_path / "own.yaml"
    step = "{sentence: 'It is {equation}.', expression: 1 + 1, result: 2}"
    demos = (f"- {{question: How many, steps: [{steps}], answer: 2}}\n" for steps in (step, f"{step}, {step}"))
    file.write_text("".join(demos))
    assert build_prompt("shuffled_steps", QUESTION, 2, str(file)) == build_prompt("cot", QUESTION, 2, str(file))


@each_set
def test_recall_then_infer_states_the_facts_of_cot_before_it_calculates(demonstrations):
    for (_, cot, right), (_, lines, answer) in pairs("cot", "recall_then_infer", demonstrations):
        facts = [line for line in cot if not equations([line])]
        assert facts
        assert lines == ["What we know:", *facts, "What follows:", *(line for line in cot if line not in facts)]
        assert answer == right


@each_set
def test_answer_only_and_repeat_question_give_the_answer_of_cot_without_a_solution(demonstrations):
    for (question, _, right), shown in pairs("cot", "answer_only", demonstrations):
        assert shown == (question, [], right)
    for (question, _, right), shown in pairs("cot", "repeat_question", demonstrations):
        assert shown == (question, [question], right)


# Other operands.


@each_set
def test_irrelevant_operands_are_not_the_questions_and_their_results_whole_positive_and_others(demonstrations):
    for (question, cot, right), (_, lines, answer) in pairs("cot", "irrelevant_operands", demonstrations):
        asked = numbers(question)
        true = {found[3] for found in equations(cot)}
        for left, _, second, result in equations(lines):
            assert not {left, second, result} & (asked | true)
            assert int(result) > 0
        assert answer != right


@each_set
def test_irrelevant_operands_have_the_digits_of_those_they_replace_the_same_one_everywhere(demonstrations):
    for (_, cot, _), (_, lines, _) in pairs("cot", "irrelevant_operands", demonstrations):
        new = dict[str, str]()
        for (*terms, result), (*shown, other) in zip(equations(cot), equations(lines), strict=True):
            for before, after in zip(terms[::2], shown[::2], strict=True):
                assert new.setdefault(before, after) == after
                assert before in {r[3] for r in equations(cot)} or len(before) == len(after)
            new[result] = other
        for before, after in zip(cot, lines, strict=True):
            assert [new[number] for number in re.findall(r"\d+", before)] == re.findall(r"\d+", after)
            assert re.split(r"\d+", before) == re.split(r"\d+", after)
        assert len(set(new.values())) == len(new)


# The whole of one, to be read.


def test_a_demonstration_of_two_steps_reads_as_written_here():
    variants = ("cot", "equation_only", "text_only", "incorrect_label", "incorrect_ood_label")
    solutions = {variant: blocks(variant, "everyday")[2][1:] for variant in variants}
    know, together, lose = (
        "Mira has 32 marbles and her brother has 42 marbles.",
        "Together they have 32 + 42 = 74 marbles.",
        "Then they lose 35 marbles.",
    )
    assert solutions["cot"] == ([know, together, lose, "So 74 - 35 = 39 marbles are left."], "39")
    assert solutions["equation_only"] == (["32 + 42 = 74.", "74 - 35 = 39."], "39")
    assert solutions["text_only"] == (
        [know, "Together they have 74 marbles.", lose, "So 39 marbles are left."], "39"
    )  # fmt: skip
    assert solutions["incorrect_label"] == (
        [know, "Together they have 32 + 42 = 73 marbles.", lose, "So 73 - 35 = 37 marbles are left."], "37"
    )  # fmt: skip
    assert solutions["incorrect_ood_label"] == (
        [know, "Together they have 32 + 42 = thistle marbles.", lose, "So thistle - 35 = canyon marbles are left."],
        "canyon",
    )


@each_set
def test_templates_count_what_they_show(demonstrations):
    def count(variant: str) -> tuple[int, int, int]:
        template: Template = make_template(variant, PromptConfig(demonstrations=demonstrations))
        return template.demonstrations, template.lines, template.equations

    steps = [step for demo in load_demonstrations(demonstrations) for step in demo.steps]
    calculating = sum(step.expression is not None for step in steps)
    assert count("cot") == count("incorrect_ood_label") == (8, len(steps), calculating)
    assert count("equation_only") == (8, calculating, calculating)
    assert count("text_only") == (8, len(steps), 0)
    assert count("answer_only") == (8, 0, 0)
    assert count("zero_shot") == (0, 0, 0)
