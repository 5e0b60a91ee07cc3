from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.data.arithmetic import evaluate
from cotlens.data.solutions import expression_of, solution_equations, used_operators
from cotlens.errors import DataError

# What counts as an equation.


def test_annotations_are_taken_as_they_are_written():
    solution = "He sold 48/2 = << 48/2=24 >>24 clips.\nIn all 48+24 = $<<48+24=72>>72, and 1 + 1 = 2."
    assert solution_equations(solution) == ("48/2=24", "48+24=72")


def test_calculator_calls_are_solved_and_other_functions_left_out():
    chain = (
        '<gadget id="calculator">3_300 / 75</gadget>\n<output>44</output>\n\n'
        '<gadget id="calculator">53 / 8</gadget>\n<output>53/8 = around 6.625</output>\n\n'
        '<gadget id="calculator">floor(53/8)</gadget>\n<output>6</output>\n\n<result>6</result>'
    )
    assert solution_equations(chain) == ("3300 / 75 = 44", "53 / 8 = 6.625")


@pytest.mark.parametrize(
    ("formula", "steps"),
    [
        ("( 8.0 - 3.0 )", ["8.0 - 3.0 = 5"]),
        ("7+2=9", ["7 + 2 = 9"]),
        ("x = 7 + 2", ["7 + 2 = 9"]),
        ("(2+5)*3=21", ["2 + 5 = 7", "7 * 3 = 21"]),
        ("55+10+13=78", ["55 + 10 = 65", "65 + 13 = 78"]),
        ("26/(8-3)=5 r1", ["8 - 3 = 5", "26 / 5 = 5.2"]),
        ("10/3*6", ["10 / 3 = (10/3)", "(10/3) * 6 = 20"]),
        ("-(2+3)*4", ["2 + 3 = 5", "-5 * 4 = -20"]),
        ("3 - -2", ["3 - -2 = 5"]),
        ("0.1+0.2", ["0.1 + 0.2 = 0.3"]),
    ],
)
def test_a_formula_is_one_step_for_each_operator(formula, steps):
    assert solution_equations(formula) == tuple(steps)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("3 + 4 = 7\n7 * 2 = 14", ["3 + 4 = 7", "7 * 2 = 14"]),
        ("She has 3 + 4 = 7 pens.", ["3 + 4 = 7"]),
        ("Each gets 10 / 3 = 3.33 of them.", ["10 / 3 = 3.33"]),
        ("She has 3 + 4 = 7.\nSo 27(1/3) = 9 are left.", []),
        ("Then 50 * 50 = 25.", []),
        ("It is seven.", []),
        ("5", []),
        ("7 = 7", []),
        ("", []),
    ],
)
def test_equations_in_text_count_only_if_all_of_them_hold(text, steps):
    assert solution_equations(text) == tuple(steps)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "exec('1')",
        "2**9999999",
        "9**9**9",
        "1e999999999 + 1",
        "(" * 5000,
        "1+" * 5000 + "1",
        "5/0",
        "lambda: 0",
        "[1 for i in 2]",
        '<gadget id="calculator">open("x")</gadget>',
    ],
)
def test_text_is_never_run_as_code(text):
    assert solution_equations(text) == ()


@pytest.mark.parametrize("terms", range(100, 1000, 50))
def test_a_formula_of_any_length_is_read_or_not_but_does_no_harm(terms):
    assert len(solution_equations("+".join("1" * terms))) in (0, terms - 1)
    assert len(solution_equations("(" * terms + "1+1" + ")" * terms)) in (0, 1)


@given(st.text(max_size=200))
def test_any_text_at_all_has_equations_or_none(text):
    assert all(isinstance(equation, str) for equation in solution_equations(text))


NUMBERS = st.integers(0, 999).map(str) | st.decimals(0, 99, places=2).map(str)
FORMULAS = st.recursive(
    NUMBERS, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map("({0[0]} {0[1]} {0[2]})".format)
).filter(lambda formula: "(" in formula and len(formula) < 200)


@given(FORMULAS)
def test_the_steps_of_a_formula_hold_use_its_operators_and_end_in_its_value(formula):
    steps = solution_equations(formula)
    assert len(steps) == formula.count("(")
    assert all(evaluate(left) == evaluate(right) for left, right in (step.split(" = ") for step in steps))
    assert evaluate(steps[-1].split(" = ")[1]) == evaluate(formula)
    assert used_operators(steps) == used_operators([formula])


# How people write arithmetic.


@pytest.mark.parametrize(
    ("equation", "value"),
    [
        ("48/2=24", 24),
        ("60*.25=15", 15),
        ("1,000*5=5000", 5000),
        ("1_000*5", 5000),
        ("$12*3=$36", 36),
        ("20%*50=10", 10),
        ("12.5% * 8", 1),
        ("3 x 4=12", 12),
        ("3x4", 12),
        ("3 × 4 ÷ 2", 6),
        ("9 − 4 – 1", 4),
        ("2(3+4)=14", 14),
        ("(1/3)27", 9),
        ("(1+2)(3)", 9),
        ("+30+46=76", 76),
        ("(+3)*2", 6),
        ("05*2=10", 10),
        ("[2+{1+1}]*2", 8),
        ("x=5+3", 8),
        ("40=40", 40),
        ("5+5=10=10", 10),
    ],
)
def test_the_left_side_is_made_plain(equation, value):
    assert evaluate(expression_of(equation)) == Fraction(value)


# Operators.


@pytest.mark.parametrize(
    ("equations", "operators"),
    [
        ([], ""),
        (["40=40"], ""),
        (["+8=8"], ""),
        (["-3=-3"], ""),
        (["48/2=24", "48+24=72"], "/+"),
        (["100-50-30-15=5"], "-"),
        (["3 - -2 = 5"], "-"),
        (["-3*-2=6"], "*"),
        (["(8-3)*2=10"], "-*"),
        (["20%*50=10"], "*"),
        (["2(3+4)=14"], "*+"),
        (["3 x 4 = 12"], "*"),
        ([".5*.5=.25"], "*"),
        (["2.*3=6"], "*"),
        (["10 / 3 = (10/3)"], "/"),
        (["2+3=10-5"], "+"),
    ],
)
def test_operators_stand_between_two_operands_on_the_left(equations, operators):
    assert used_operators(equations) == frozenset(operators)


@pytest.mark.parametrize("equation", ["2*y=10", "apples + pears = fruit", "2**3=8", "7//2=3", "5/0=1", "", "="])
def test_what_is_no_arithmetic_is_an_error(equation):
    with pytest.raises(DataError):
        used_operators(["1+1=2", equation])
