"""Equations are found in whatever way a person or a model writes them, and every part where it stands."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.data.arithmetic import evaluate
from cotlens.data.equations import find_equations
from cotlens.errors import DataError


def plain(text: str) -> list[str]:
    return [f"{found.expression} = {found.result}" for found in find_equations(text)]


def parts(text: str) -> list[str]:
    """Each part's text with its role's first letters."""
    marks = {"operand": "", "operator": "o:", "equals": "e:", "result": "r:"}
    return [
        f"{marks[part.role]}{text[part.start : part.end]}" for found in find_equations(text) for part in found.parts
    ]


# What is found.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So 21 - 15 = 6 trees are there.", "21 - 15 = 6"),
        ("5+3=8.", "5 + 3 = 8"),
        ("5 + 3 == 8", "5 + 3 = 8"),
        ("10 / 3 ≈ 3.33", "10 / 3 = 3.33"),
        ("10 / 3 \\approx 3.33", "10 / 3 = 3.33"),
        ("1 + 2 + 3 + 4 = 10", "1 + 2 + 3 + 4 = 10"),
        ("It is 5 + 3 = 8.50, no more.", "5 + 3 = 8.50"),
        (".5 + 0.5 = 1.0", ".5 + 0.5 = 1.0"),
        # Signs of operators.
        ("3 x 4 = 12", "3 * 4 = 12"),
        ("3 X 4 = 12", "3 * 4 = 12"),
        ("3x4=12", "3 * 4 = 12"),
        ("3 × 4 = 12", "3 * 4 = 12"),
        ("3·4 = 12", "3 * 4 = 12"),
        ("12÷4=3", "12 / 4 = 3"),
        ("5 − 3 = 2", "5 - 3 = 2"),
        ("5 – 3 = 2", "5 - 3 = 2"),
        (r"6 \times 7 = 42", "6 * 7 = 42"),
        (r"6 \cdot 7 = 42", "6 * 7 = 42"),
        (r"6 \div 2 = 3", "6 / 2 = 3"),
        (r"\(5 \times 3 = 15\)", "5 * 3 = 15"),
        (r"$$5 \times 3 = 15$$", "5 * 3 = 15"),
        # Currency, separators, percent.
        ("$1,234.50 + $5 = $1,239.50", "1234.50 + 5 = 1239.50"),
        (r"\$6 * 2 = \$12", "6 * 2 = 12"),
        ("5€ + 3€ = 8€", "5 + 3 = 8"),
        ("1,000,000 * 2 = 2,000,000", "1000000 * 2 = 2000000"),
        ("50% + 10% = 60%", "50 + 10 = 60"),
        # Units and words around.
        ("3 boxes * 4 pens each = 12 pens", "3 * 4 = 12"),
        ("3 dozen x 12 = 36", "3 * 12 = 36"),
        ("12 square feet * 2 = 24 square feet", "12 * 2 = 24"),
        ("60 km/h * 2 hours = 120 km", "60 * 2 = 120"),
        ("5 pens and 3 pens: 5 + 3 = 8", "5 + 3 = 8"),
        ("on 5 follow-up calls 4 + 4 = 8", "4 + 4 = 8"),
        ("A 7-day week has 7 * 24 = 168 hours", "7 * 24 = 168"),
        ("It's 3-2 = 1", "3 - 2 = 1"),
        ("5 + 3 is = 8", "5 + 3 = 8"),
        # Lists, bold marks, brackets.
        ("- 5 + 3 = 8", "5 + 3 = 8"),
        ("* 5 + 3 = 8", "5 + 3 = 8"),
        ("1. 5 + 3 = 8", "5 + 3 = 8"),
        ("2) 5 + 3 = 8", "5 + 3 = 8"),
        ("**5 + 3 = 8**", "5 + 3 = 8"),
        ("5 + 3 = **8**", "5 + 3 = 8"),
        ("(5 + 3) * 2 = 16", "(5 + 3) * 2 = 16"),
        ("2 * (5 + 3) = 16", "2 * (5 + 3) = 16"),
        ("100 - ((20 + 30)) = 50", "100 - ((20 + 30)) = 50"),
        ("It is 8 (5 + 3 = 8).", "5 + 3 = 8"),
        ("((5 + 3) * 2 = 16)", "(5 + 3) * 2 = 16"),
        ("(a total of 5) + 3 = 8", "5 + 3 = 8"),
        # Negative numbers.
        ("3 - 5 = -2", "3 - 5 = -2"),
        ("3 - 5 = −2", "3 - 5 = -2"),
        ("3 - 5 = -$2", "3 - 5 = -2"),
        ("-2 + 3 = 1", "-2 + 3 = 1"),
        ("It is -2 + 3 = 1", "-2 + 3 = 1"),
        ("Then: −2 + 3 = 1", "-2 + 3 = 1"),
        ("7 days -2 = 5", "7 - 2 = 5"),
        ("lantern - 2 = 5", "lantern - 2 = 5"),
        ("5 - -3 = 8", "5 - -3 = 8"),
        ("2 * (-3) = -6", "2 * (-3) = -6"),
        # Words in a number's place.
        ("15 - 6 = lantern", "15 - 6 = lantern"),
        ("So thistle - 35 = canyon marbles are left.", "thistle - 35 = canyon"),
        ("lantern + copper = velvet", "lantern + copper = velvet"),
        ("3 + 4 = seven", "3 + 4 = seven"),
        ("x + 5 = 12", "x + 5 = 12"),
    ],
)
def test_an_equation_is_found_and_made_plain(text, found):
    assert plain(text) == [found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2 + 3 = 5 + 4 = 9", ["2 + 3 = 5", "5 + 4 = 9"]),
        ("2 * 3 = 6 = 6", ["2 * 3 = 6"]),
        ("x = 5 + 3 = 8", ["5 + 3 = 8"]),
        ("5 + 3 = 8 and 8 - 2 = 6.", ["5 + 3 = 8", "8 - 2 = 6"]),
        ("5 + 3 = 8\n8 - 2 = 6\n\n6 * 2 = 12", ["5 + 3 = 8", "8 - 2 = 6", "6 * 2 = 12"]),
    ],
)
def test_of_several_equations_each_is_found_in_order(text, found):
    assert plain(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "a = b", "Let x = 5", "y = 7", "= 8", "5 + 3 =", "5 + 3", "5 + 3\n= 8", "5 + 3 = = 8", "5 = 5",
        "The well-known follow-up = more", "Ann has 5 pens and Ben 3.", "3 + 4 = ?", "a - b", "-5 = x", "5 + = 8",
        "(5) = 5", "<b class='x'>", "10:30 = late", "==========", "+ - * / =",
    ],
)  # fmt: skip
def test_what_is_no_equation_is_none(text):
    assert plain(text) == []


# Where its parts stand.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So $1,200 x 3 boxes = $3,600.", ["1,200", "o:x", "3", "e:=", "r:3,600"]),
        (r"Then 6 \times (7 - 5) == 12!", ["6", r"o:\times", "7", "o:-", "5", "e:==", "r:12"]),
        ("2 * (-3) = −6", ["2", "o:*", "-3", "e:=", "r:−6"]),
        ("thistle - 35 = canyon", ["thistle", "o:-", "35", "e:=", "r:canyon"]),
        ("2 + 3 = 5 + 4 = 9", ["2", "o:+", "3", "e:=", "r:5", "5", "o:+", "4", "e:=", "r:9"]),
    ],
)
def test_parts_are_marked_as_they_are_written(text, found):
    assert parts(text) == found


def test_an_equation_reaches_from_its_first_part_to_its_last():
    text = "So $5 + $3 = $8 in all."
    (found,) = find_equations(text)
    assert text[found.start : found.end] == "5 + $3 = $8"


NUMBERS = st.integers(0, 10**7).map(str) | st.decimals(0, 10**5, places=2).map(str)
GROUPED = st.integers(0, 10**9).map("{:,}".format)
OPERATORS = st.sampled_from([" + ", " - ", " * ", " / ", "+", "-", "*", "/", " x ", " × ", " ÷ ", " − ", r" \times "])
SIGNS = {"x": "*", "×": "*", "÷": "/", "−": "-", r"\times": "*"}
EQUALS = st.sampled_from([" = ", "=", " == ", " ≈ "])
BEFORE = st.sampled_from(["", "So ", "Then we have ", "- ", "Altogether, ", "She has 3 pens. ", "It is: ", "**"])
AFTER = st.sampled_from(["", ".", " pens.", ", which is it", "!", " (see above)", "**", "\nThe answer is 5."])


@given(
    BEFORE, st.lists(NUMBERS | GROUPED, min_size=2, max_size=5), st.data(), EQUALS, NUMBERS | GROUPED, AFTER,
    st.sampled_from(["", "$"]), st.booleans(),
)  # fmt: skip
def test_an_equation_in_a_sentence_is_found_again(before, operands, data, equals, result, after, currency, minus):
    signs = [data.draw(OPERATORS) for _ in operands[1:]]
    right = f"-{result}" if minus else result
    left = "".join(f"{sign}{currency}{operand}" for sign, operand in zip(["", *signs], operands, strict=True))
    text = f"{before}{left}{equals}{right}{after}"
    (found,) = find_equations(text)
    plain_signs = [SIGNS.get(sign.strip(), sign.strip()) for sign in signs]
    terms = [term for pair in zip(operands, [*plain_signs, ""], strict=True) for term in pair if term]
    assert found.expression == " ".join(terms).replace(",", "")
    assert found.result == right.replace(",", "")
    shown = [(text[part.start : part.end], part.role) for part in found.parts]
    assert [piece for piece, role in shown if role == "operand"] == operands
    assert [piece for piece, role in shown if role == "operator"] == [sign.strip() for sign in signs]
    assert [piece for piece, role in shown[-2:]] == [equals.strip(), right]
    assert [role for _, role in shown[-2:]] == ["equals", "result"]


@given(st.text(alphabet="0123456789+-*/=()., xab$\n%", max_size=60) | st.text(max_size=60))
def test_any_text_has_parts_in_order_and_numbers_that_can_be_calculated_with(text):
    for found in find_equations(text):
        places = [place for part in found.parts for place in (part.start, part.end)]
        assert places == sorted(places)
        assert all(part.start < part.end for part in found.parts)
        assert (found.start, found.end) == (places[0], places[-1])
        assert "\n" not in text[found.start : found.end]
        if not re.search(r"[^\W\d_]", found.expression):
            try:
                evaluate(found.expression)
            except DataError as error:
                assert "divides by zero" in str(error)  # noqa: PT017
        assert re.fullmatch(r"-?(\d+(\.\d+)?|\.\d+)|[^\W\d_]+([-/'][^\W\d_]+)*", found.result)


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1 + ",
        "1 + 1 = ",
        "= ",
        "(",
        ")",
        "1,111",
        "x = ",
        "a-",
        " ",
        ".",
        "1.",
        "$",
        "*",
        "word ",
        "-1",
        "- ",
        "\\",
    ],
)
def test_very_long_lines_are_read_in_a_moment(piece):
    assert _seconds(piece * (40_000 // len(piece))) < 3


def test_many_equals_signs_in_a_line_do_not_make_it_slow():
    assert _seconds("x = " * 50_000) < 6


def _seconds(text: str) -> float:
    """Processor time, so that a busy machine does not count."""
    began = time.process_time()
    list(find_equations(text))
    return time.process_time() - began
