"""The equations of a worked solution, and the operators that they use. Nothing is ever run as code.

Three notations are read: GSM8K's annotations, ``He sold 48/2 = <<48/2=24>>24 clips`` (Cobbe et al., 2021); Calc-X's
calculator calls, ``<gadget id="calculator">7 + 2</gadget>`` (Kadlčík et al., 2023); and a formula without result or
with one, ``( 8 - 3 ) / 5`` or ``(8-3)/5=1``, as in SVAMP and ASDiv. Failing these, the equations in the text count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.data.equations import find_equations
from cotlens.errors import DataError

__all__ = ["expression_of", "solution_equations", "used_operators"]

_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_CALL = re.compile(r"<gadget\b[^>]*>([^<]*)</gadget>")
_REMAINDER = re.compile(r"\s*r\s*\d+\s*$")
_UNKNOWN = re.compile(r"^\s*[A-Za-z]\s*=(?=[^=]*\d)")
_BINARY_OPERATOR = re.compile(r"[\d.)]\s*([-+*/])")
_SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
#: The formula of a word problem is short; text without end is none.
_LONGEST_FORMULA = 200

# How people write arithmetic, in the order in which it is made plain.
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[$€£¥₹]"), ""),
    (re.compile(r"[×·]|(?<=[\d)\s])[xX](?=[\s\d(.])"), "*"),
    (re.compile(r"÷"), "/"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"[\[{]"), "("),
    (re.compile(r"[\]}]"), ")"),
    (re.compile(r"(?<=\d)(?:,(?=\d{3}(?!\d))|_(?=\d))"), ""),  # 1,000 and 1_000
    (re.compile(r"(?<![\d.])0+(?=\d)"), ""),  # 05
    (re.compile(r"(^\s*|\(\s*)\+"), r"\1"),  # +30+46
    (re.compile(r"(?<=[\d)])\s*(?=\()|(?<=\))\s*(?=[\d.])"), "*"),  # 2(3+4)
)
_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")


def solution_equations(solution: str) -> tuple[str, ...]:
    """The steps of ``solution`` in order, each as an equation; none if it can't be read.

    Annotations stay as they are written. A formula becomes one equation per operator: ``(2+5)*3=21`` is
    ``2 + 5 = 7`` and ``7 * 3 = 21``. Equations in running text count if every one of them holds.
    """
    if annotated := [text.strip() for text in _ANNOTATION.findall(solution) if text.strip()]:
        return tuple(annotated)
    if called := _CALL.findall(solution):
        return tuple(step for call in called for step in _formula_steps(call))
    return _formula_steps(solution) or _steps_in_text(solution)


def used_operators(equations: Iterable[str]) -> frozenset[str]:
    """Which of ``+ - * /`` stand between two operands on the left of ``equations``; signs of numbers don't count.

    Raises:
        DataError: an equation whose left side is no arithmetic.
    """
    expressions = [expression_of(equation) for equation in equations]
    for expression in expressions:
        evaluate(expression)
    return frozenset(symbol for expression in expressions for symbol in _BINARY_OPERATOR.findall(expression))


def expression_of(equation: str) -> str:
    """The left side of ``equation``, fit for `evaluate`: plain signs, no currency, ``20%`` as ``0.20``."""
    plain = _UNKNOWN.sub("", equation).partition("=")[0].strip()
    for pattern, replacement in _SPELLINGS:
        plain = pattern.sub(replacement, plain)
    return _PERCENT.sub(lambda match: f"{Decimal(match[1]).scaleb(-2):f}", plain).strip()


def _formula_steps(formula: str) -> tuple[str, ...]:
    """One equation per operator of a formula that stands alone, innermost first; none if it is no formula."""
    if len(formula) > _LONGEST_FORMULA or "\n" in formula.strip():
        return ()
    sides = _UNKNOWN.sub("", formula).split("=")
    try:
        for result in sides[1:]:
            evaluate(expression_of(_REMAINDER.sub("", result)))
        expression = expression_of(formula)
        evaluate(expression)
    except DataError:
        return ()
    steps: list[str] = []
    _walk(ast.parse(expression, mode="eval").body, expression, steps)
    return tuple(steps)


def _walk(node: ast.expr, source: str, steps: list[str]) -> str:
    """Append the steps of ``node``, whose grammar `evaluate` has checked; its value as text."""
    written = ast.get_source_segment(source, node) or ""
    if not isinstance(node, ast.BinOp):
        inner = node.operand if isinstance(node, ast.UnaryOp) else node
        if not isinstance(inner, ast.BinOp):
            return written
        _walk(inner, source, steps)
        return _text(evaluate(written))
    left, right = _walk(node.left, source, steps), _walk(node.right, source, steps)
    result = _text(evaluate(written))
    steps.append(f"{left} {_SYMBOLS[type(node.op)]} {right} = {result}")
    return result


def _text(value: Fraction) -> str:
    text = plain_number(value)
    return f"({text})" if "/" in text else text


def _steps_in_text(text: str) -> tuple[str, ...]:
    found = find_equations(text)
    if all(_holds(equation.expression, equation.result) for equation in found):
        return tuple(f"{equation.expression} = {equation.result}" for equation in found)
    return ()


def _holds(expression: str, result: str) -> bool:
    """Whether ``result`` is the value of ``expression``, exactly or rounded to the digits it has."""
    try:
        exact, stated = evaluate(expression), evaluate(result)
    except DataError:
        return False
    return abs(exact - stated) < Fraction(1, 10 ** len(result.partition(".")[2])) if "." in result else exact == stated
