"""Exact arithmetic on expressions such as ``(48 + 2) / 5``, by a grammar of our own, never by ``eval``."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction

from cotlens.errors import DataError

__all__ = ["evaluate", "plain_number"]

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
#: No exponent: an exact 1e999999999 has a billion digits.
_LITERAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")


def evaluate(expression: str, names: Mapping[str, Fraction] | None = None) -> Fraction:
    """The exact value of ``expression``: numbers, ``+ - * /``, brackets, a leading minus, and ``names``.

    Raises:
        DataError: for anything else, and for a division by zero.
    """
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, names or {}, expression)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a parser out of stack says MemoryError
        raise DataError(f"{expression!r} is not an arithmetic expression") from None
    except ZeroDivisionError:
        raise DataError(f"{expression!r} divides by zero") from None


def plain_number(value: Fraction) -> str:
    """``value`` as a person writes it: ``17``, ``2.5``; a decimal fraction without end stays ``1/3``."""
    if value.denominator == 1:
        return str(value.numerator)
    rest, places = value.denominator, 0
    for factor in (2, 5):
        power = 0
        while rest % factor == 0:
            rest //= factor
            power += 1
        places = max(places, power)
    return f"{Decimal(f'{value * 10**places}e-{places}'):f}" if rest == 1 else str(value)


def _value(node: ast.expr, names: Mapping[str, Fraction], source: str) -> Fraction:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            # The digits as written: 0.1 means one tenth, not its nearest binary fraction.
            digits = ast.get_source_segment(source.strip(), node) or ""
            if not _LITERAL.fullmatch(digits):
                raise ValueError(digits)
            return Fraction(digits)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names, source)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, names, source), _value(right, names, source))
    raise ValueError(ast.dump(node))
