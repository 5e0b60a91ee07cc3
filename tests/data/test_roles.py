"""What each piece of a solution is, against what the demonstrations' own data say."""

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.config import PromptConfig
from cotlens.data import VARIANTS, make_template
from cotlens.data.demonstrations import Demonstration, load_demonstrations
from cotlens.data.operands import other_operands
from cotlens.data.roles import CONNECTIVES, Span, mark_roles, role_of_each

SETS = ("everyday", "workshop", "journey")
WITH_EQUATIONS = [
    name for name in VARIANTS
    if not name.startswith("zero_shot") and name not in ("text_only", "answer_only", "repeat_question")
]  # fmt: skip

each_set = pytest.mark.parametrize("demonstrations", SETS)


def solutions(variant: str, demonstrations: str) -> list[str]:
    head = make_template(variant, PromptConfig(demonstrations=demonstrations)).head
    return [head.text[section.start : section.end] for section in head.sections if section.part == "solution"]


def roles(text: str) -> list[tuple[str, str]]:
    return [(span.role, text[span.start : span.end]) for span in mark_roles(text)]


def of(text: str, *wanted: str) -> list[str]:
    return [piece for role, piece in roles(text) if role in wanted]


# Every variant of every set, against the steps as the file has them.


def expected(demo: Demonstration, shown: list[str]) -> Iterator[list[tuple[str, str]]]:
    """Roles and texts of each equation, with ``shown`` as the results."""
    calculating = [step.expression for step in demo.steps if step.expression is not None]
    for expression, result in zip(calculating, shown, strict=True):
        terms = [shown[int(term[1:]) - 1] if re.fullmatch(r"r\d", term) else term for term in expression.split()]
        names = ["operand", "operator"] * len(terms)
        yield [*zip(names, terms, strict=False), ("equals", "="), ("result", result)]


def told(variant: str, demonstrations: str) -> list[Demonstration]:
    kind = variant if variant in ("add_only", "mult_only") else "mixed"
    demos = load_demonstrations(demonstrations, kind)
    if variant == "irrelevant_operands":
        return [other_operands(demo, place) for place, demo in enumerate(demos)]
    return list(demos)


@each_set
@pytest.mark.parametrize("variant", WITH_EQUATIONS)
def test_the_parts_of_every_equation_are_those_of_the_demonstrations(variant, demonstrations):
    for demo, text in zip(told(variant, demonstrations), solutions(variant, demonstrations), strict=True):
        found = [piece for piece in roles(text) if piece[0] in ("operand", "operator", "equals", "result")]
        shown = [str(result) for result in demo.results()]
        if variant.startswith("incorrect"):  # by the places of their steps, since nothing says what stands there
            lines = [line for line, step in zip(text.splitlines(), demo.steps, strict=False) if step.expression]
            shown = [re.search(r"= (\w+)", line)[1] for line in lines]
        equations = list(expected(demo, shown))
        if variant == "shuffled_steps":
            size = len(equations[0])
            assert sorted(found[n : n + size] for n in range(0, len(found), size)) == sorted(equations)
        else:
            assert found == [piece for equation in equations for piece in equation]


@each_set
@pytest.mark.parametrize("variant", ["text_only", "answer_only", "repeat_question"])
def test_a_solution_without_equations_has_no_parts_of_one(variant, demonstrations):
    for text in solutions(variant, demonstrations):
        assert of(text, "operand", "operator", "equals", "result") == []


@each_set
@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.startswith("zero_shot")])
def test_every_solution_ends_with_the_answer_phrase_and_its_answer(variant, demonstrations):
    for text in solutions(variant, demonstrations):
        last = text.rpartition("The answer is ")[2].removesuffix(".")
        assert roles(text)[-2:] == [("answer_phrase", "The answer is"), ("answer", last)]
        assert of(text, "answer_phrase", "answer") == ["The answer is", last]


@each_set
@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.startswith("zero_shot")])
def test_numbers_and_connectives_of_the_prose_are_all_else_that_is_marked(variant, demonstrations):
    for text in solutions(variant, demonstrations):
        prose = re.sub(r"[\w]+ [-+*/] \w+ = \w+|The answer is \w+", " ", text)
        assert of(text, "number") == re.findall(r"\d+", prose)
        words = [word for word in re.findall("[A-Za-z]+", prose) if word.lower() in CONNECTIVES]
        assert of(text, "connective") == words


@each_set
@pytest.mark.parametrize("variant", WITH_EQUATIONS)
def test_spans_are_in_order_and_do_not_overlap(variant, demonstrations):
    for text in solutions(variant, demonstrations):
        places = [place for span in mark_roles(text) for place in (span.start, span.end)]
        assert places == sorted(places)
        assert places[-1] <= len(text)


# Texts as models write them.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("Nothing here.", []),
        ("At first 3 boats lie here.", [("connective", "first"), ("number", "3")]),
        (
            "So $5 * 3 boxes = $15.",
            [("connective", "So"), ("operand", "5"), ("operator", "*"), ("operand", "3"), ("equals", "="),
             ("result", "15")],
        ),
        (
            "2 + 3 = 5 + 4 = 9",
            [("operand", "2"), ("operator", "+"), ("operand", "3"), ("equals", "="), ("result", "5"), ("operator", "+"),
             ("operand", "4"), ("equals", "="), ("result", "9")],
        ),
        (
            "15 - 6 = lantern boats",
            [("operand", "15"), ("operator", "-"), ("operand", "6"), ("equals", "="), ("result", "lantern")],
        ),
        ("2 * -3 = -6", [("operand", "2"), ("operator", "*"), ("operand", "-3"), ("equals", "="), ("result", "-6")]),
        ("THEREFORE, then: 1,250.50!", [("connective", "THEREFORE"), ("connective", "then"), ("number", "1,250.50")]),
        ("Sofa, first-rate, nowhere", [("connective", "first")]),
    ],
)  # fmt: skip
def test_a_text_is_marked_like_this(text, found):
    assert roles(text) == found


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 8.", ["8"]),
        ("the  answer\nis 8", ["8"]),
        ("Therefore, the answer is $1,250.50 in all.", ["1,250.50"]),
        ("The answer is: **-8**", ["-8"]),
        ("The answer is about 12 pens, not 13.", ["12"]),
        ("The answer is lantern.", ["lantern"]),
        ("The answer is: **lantern**", ["lantern"]),
        ("The answer is not known. There are 5.", ["not"]),
        ("The answer is\n8", []),
        ("The answer is", []),
        ("The answer is ?", []),
        ("Theanswer is 8", []),
        ("The answer is 4. So the answer is 5.", ["4", "5"]),
        ("The answer is the answer is 5.", ["5"]),
    ],
)
def test_the_answer_is_the_number_after_the_phrase_or_else_the_word(text, answer):
    assert of(text, "answer") == answer


def test_an_answer_that_is_an_equation_is_marked_as_an_equation():
    assert [role for role, _ in roles("The answer is 3 + 4 = 7.")] == [
        "answer_phrase", "operand", "operator", "operand", "equals", "result"
    ]  # fmt: skip


@given(st.text(alphabet="so the answer is 0123456789+-*/=.,\n$", max_size=80) | st.text(max_size=80))
def test_any_text_has_spans_in_order_without_overlap(text):
    spans = mark_roles(text)
    places = [place for span in spans for place in (span.start, span.end)]
    assert places == sorted(places)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)


@pytest.mark.parametrize(
    "piece", ["the answer is ", "the answer is 4, ", "so ", "1 + 1 = 2 ", "the ", "The answer is x\n"]
)
def test_very_long_texts_are_marked_in_a_moment(piece):
    began = time.process_time()
    spans = mark_roles(piece * 6000)
    role_of_each([(place, place + 1) for place in range(6000)], spans)
    assert time.process_time() - began < 3


# Tokens.


SPANS = [Span(3, 5, "operand"), Span(6, 7, "operator"), Span(8, 10, "operand"), Span(11, 12, "equals")]


@pytest.mark.parametrize(
    ("token", "role"),
    [
        ((0, 3), "text"),  # ends where a span begins
        ((3, 5), "operand"),
        ((2, 5), "operand"),  # with the space before it
        ((2, 4), "operand"),  # half of it
        ((0, 4), "operand"),  # any marked character outweighs the others
        ((4, 8), "operand"),  # as much of the one as of the other: the first
        ((5, 7), "operator"),
        ((6, 10), "operand"),  # more of the second
        ((0, 20), "operand"),
        ((12, 15), "text"),
        ((3, 3), "text"),  # no character at all
        ((5, 6), "text"),
    ],
)
def test_a_token_has_the_role_of_most_of_its_marked_characters(token, role):
    assert role_of_each([token], SPANS) == [role]


def test_tokens_are_told_one_by_one():
    text = "So 15 - 6 = 9."
    tokens = [(0, 2), (2, 3), (3, 4), (4, 5), (5, 7), (7, 9), (9, 11), (11, 14)]
    assert role_of_each(tokens, mark_roles(text)) == [
        "connective", "text", "operand", "operand", "operator", "operand", "equals", "result"
    ]  # fmt: skip
    assert role_of_each([], mark_roles(text)) == []
    assert role_of_each(tokens, []) == ["text"] * 8


def test_tokens_that_share_a_character_share_its_role():
    assert role_of_each([(2, 4), (3, 4), (3, 5)], SPANS) == ["operand"] * 3
