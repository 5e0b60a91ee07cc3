from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.errors import DataError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17", 17),
        ("21 - 15", 6),
        ("3+2", 5),
        ("5 * 4", 20),
        ("24 / 4", 6),
        ("1 / 3", Fraction(1, 3)),
        ("(48 + 2) / 5", 10),
        ("48 + 2 / 4", Fraction(97, 2)),
        ("10 - 4 - 3", 3),
        ("24 / 4 / 2", 3),
        ("-3", -3),
        ("-(3 + 4)", -7),
        ("5 - -3", 8),
        ("((7))", 7),
        ("  2 *  3 ", 6),
        ("0.1 + 0.2", Fraction(3, 10)),
        (".5 * 4", 2),
        ("2. * 4", 8),
        ("1234567890123456789.01 * 100", 123456789012345678901),
    ],
)
def test_an_expression_has_its_exact_value(expression, value):
    assert evaluate(expression) == value


def test_names_stand_for_their_values():
    assert evaluate("r1 * r2 - 1", {"r1": Fraction(1, 2), "r2": Fraction(10)}) == 4


@pytest.mark.parametrize(
    "expression",
    [
        "", " ", "two", "1 +", "(1", "1)", "1 2", "1\n2", "1; 2", "1,000", "2 ** 3", "2 ^ 3", "7 // 2", "7 % 2",
        "+5", "~5", "not 1", "1 < 2", "1 if 1 else 2", "x := 1", "[1]", "{1}", "(1, 2)", "'1'", "b'1'", "f'{1}'",
        "True", "None", "...", "1j", "0x10", "0b1", "1_000", "1e3", "1e400", "\0", "r1", "1 + r9", "\u0661",
        "abs(1)", "(1).real", "a[0]", "lambda: 1", "__import__('os')", "1 = 1", "21 - 15 = 6",
    ],
)  # fmt: skip
def test_anything_but_arithmetic_is_refused_with_the_text_that_was_given(expression):
    with pytest.raises(DataError) as caught:
        evaluate(expression, {"r1" if expression != "r1" else "r2": Fraction(1)})
    assert str(caught.value) == f"{expression!r} is not an arithmetic expression"


@pytest.mark.parametrize("expression", ["1 / 0", "5 / (3 - 3)", "0 / 0", "1 / 0.0"])
def test_division_by_zero_is_an_error_that_says_so(expression):
    with pytest.raises(DataError, match="divides by zero"):
        evaluate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "-" * 100_000 + "1",
        "(" * 100_000 + "1" + ")" * 100_000,
        "1+" * 50_000 + "1",
        "9" * 100_000,
        "1e999999999",
        "9**9**9",
    ],
    ids=["minus signs", "brackets", "sums", "digits", "exponent", "powers"],
)
def test_an_expression_made_to_exhaust_the_machine_is_refused(expression):
    with pytest.raises(DataError, match="is not an arithmetic expression"):
        evaluate(expression)


def test_code_is_not_run(tmp_path):
    victim = tmp_path / "evaluated"
    with pytest.raises(DataError):
        evaluate(f"open({str(victim)!r}, 'w')")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(17), "17"),
        (Fraction(0), "0"),
        (Fraction(-4), "-4"),
        (Fraction(5, 2), "2.5"),
        (Fraction(-5, 4), "-1.25"),
        (Fraction(1, 1000), "0.001"),
        (Fraction(1, 100_000), "0.00001"),
        (Fraction(12345678901234567891, 10), "1234567890123456789.1"),
        (Fraction(1, 3), "1/3"),
        (Fraction(-7, 6), "-7/6"),
    ],
)
def test_plain_number_writes_as_a_person_does(value, text):
    assert plain_number(value) == text


@given(st.fractions())
def test_plain_number_loses_nothing(value):
    assert evaluate(plain_number(value)) == value


@given(st.integers(), st.integers(min_value=0, max_value=40), st.integers(min_value=0, max_value=40))
def test_plain_number_of_a_decimal_fraction_has_neither_bar_nor_exponent(top, twos, fives):
    value = Fraction(top, 2**twos * 5**fives)
    text = plain_number(value)
    assert set(text) <= set("-0123456789.")
    assert evaluate(text) == value


def _expressions():
    numbers = st.integers(0, 10**6).map(str) | st.decimals(0, 1000, places=2).map(str)
    return st.recursive(
        numbers, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({' '.join(t)})")
    )


@given(_expressions(), _expressions())
def test_evaluate_respects_the_laws_of_arithmetic(a, b):
    assert evaluate(f"{a} + {b}") == evaluate(a) + evaluate(b)
    assert evaluate(f"{a} - {b}") == evaluate(a) - evaluate(b)
    assert evaluate(f"{a} * {b}") == evaluate(a) * evaluate(b)
    if evaluate(b):
        assert evaluate(f"{a} / {b}") == evaluate(a) / evaluate(b)
