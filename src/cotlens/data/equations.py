"""Equations in text: ``5 * 4 = 20`` wherever a person or a model writes one, with the place of every part.

Operands may carry currency signs and units (``3 boxes * $2.50 = $7.50``), operators may be signs or LaTeX, and a word
may stand where a number should (``15 - 6 = lantern``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

__all__ = ["NUMBER", "Equation", "EquationPart", "find_equations"]

#: Digits as they are written: thousands separators, a decimal part; without a sign.
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"

_LEXEME = re.compile(
    r"(?P<mark>[$€£¥₹%]|\\\$|\*\*)"  # two stars: bold
    rf"|(?P<number>{NUMBER})"
    r"|(?P<operator>[-+*/−–×÷·]|\\times\b|\\div\b|\\cdot\b|(?<=[\s\d])[xX](?=[\s\d]))"
    r"|(?P<equals>=+|≈|\\approx\b)"
    r"|(?P<word>[^\W\d_]+(?:[-/'][^\W\d_]+)*)"  # "follow-up" and "km/h" are words
    r"|(?P<opening>\()|(?P<closing>\))"
    r"|(?P<other>\S)"
)
_LINE_WITH_EQUALS = re.compile(r"^[^\n=≈]*(?:[=≈]|\\approx\b)[^\n]*", re.MULTILINE)
_SIGNS = {"−": "-", "–": "-", "×": "*", "·": "*", "x": "*", "X": "*", "÷": "/"} | {
    r"\times": "*",
    r"\cdot": "*",
    r"\div": "/",
}
_MINUS = "-−–"
#: Words of a unit: "12 square feet".
_MOST_UNIT_WORDS = 2

EquationRole = Literal["operand", "operator", "equals", "result"]


class EquationPart(NamedTuple):
    """Characters ``start`` to ``end`` of the text, and what they are in the equation."""

    start: int
    end: int
    role: EquationRole


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation in a text.

    ``expression`` and ``result`` are plain: no separators, signs and units, operators ``+ - * /``, no bracket without
    its partner; fit for `evaluate` unless a word stands for a number.
    """

    expression: str
    result: str
    parts: tuple[EquationPart, ...]

    @property
    def start(self) -> int:
        return self.parts[0].start

    @property
    def end(self) -> int:
        return self.parts[-1].end


class _Lexeme(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


@lru_cache(maxsize=256)  # the same few texts are asked for again and again
def find_equations(text: str) -> tuple[Equation, ...]:
    """The equations in ``text``, in order; of ``2 + 3 = 5 + 4 = 9`` both."""
    return tuple(_read_lines(text))


def _read_lines(text: str) -> Iterator[Equation]:
    for line in _LINE_WITH_EQUALS.finditer(text):
        found = [
            _Lexeme(match.lastgroup or "", match[0], match.start(), match.end())
            for match in _LEXEME.finditer(text, line.start(), line.end())
            if match.lastgroup != "mark"
        ]
        lexemes = _with_signs(_without_units(found))
        begin = 0  # after the equals sign before
        for place, lexeme in enumerate(lexemes):
            if lexeme.kind == "equals":
                left, right = _expression(lexemes[begin:place]), _result(lexemes[place + 1 : place + 3])
                begin = place + 1
                # Words alone are an equation where a word is the result: "lantern + copper = velvet".
                if left and right and (any(item.kind == "number" for item in left) or right[0].kind == "word"):
                    yield _equation(left, lexeme, right)


def _without_units(lexemes: list[_Lexeme]) -> list[_Lexeme]:
    """Drop words that name what a number counts: those between a number and an operator, equals sign or bracket."""
    kept: list[_Lexeme] = []
    runs = [(kind, list(run)) for kind, run in groupby(lexemes, key=lambda lexeme: lexeme.kind)]
    for place, (kind, run) in enumerate(runs):
        follows_number = bool(kept) and kept[-1].kind in ("number", "closing")
        before = runs[place + 1][0] if place + 1 < len(runs) else ""
        is_unit = follows_number and len(run) <= _MOST_UNIT_WORDS and before in ("operator", "equals", "closing")
        if not (kind == "word" and is_unit):
            kept += run
    return kept


def _with_signs(lexemes: list[_Lexeme]) -> list[_Lexeme]:
    """Join a minus sign and the number right after it where it subtracts nothing: ``5 - -3``, ``2 * (-3)``."""
    kept: list[_Lexeme] = []
    for lexeme in lexemes:
        sign = kept[-1] if kept else lexeme
        is_sign = sign.text in _MINUS and lexeme.kind == "number" and sign.end == lexeme.start
        if is_sign and not (len(kept) > 1 and _is_operand(kept[-2], sign)):
            kept[-1] = _Lexeme("number", f"-{lexeme.text}", sign.start, lexeme.end)
        else:
            kept.append(lexeme)
    return kept


def _is_operand(lexeme: _Lexeme, sign: _Lexeme) -> bool:
    """Whether ``sign`` subtracts from ``lexeme``; in "it is -2" it does not."""
    return lexeme.kind in ("number", "closing") or (lexeme.kind == "word" and lexeme.end == sign.start)


def _expression(lexemes: list[_Lexeme]) -> list[_Lexeme]:
    """The longest end of ``lexemes`` that reads term, operator, term, ...; empty if it has no operator."""
    start, operators = len(lexemes), 0
    while True:
        term = _term_start(lexemes, start)
        if term is None:
            break
        start = term
        if start == 0 or lexemes[start - 1].kind != "operator":
            break
        start, operators = start - 1, operators + 1
    found = lexemes[start:]
    if found and found[0].kind == "operator":  # the mark of a list
        found, operators = found[1:], operators - 1
    return found if operators else []


def _term_start(lexemes: list[_Lexeme], end: int) -> int | None:
    """Where the term begins that ends before ``end``: brackets around one number or word."""
    place = end - 1
    while place >= 0 and lexemes[place].kind == "closing":
        place -= 1
    if place < 0 or lexemes[place].kind not in ("number", "word"):
        return None
    while place > 0 and lexemes[place - 1].kind == "opening":
        place -= 1
    return place


def _result(lexemes: list[_Lexeme]) -> list[_Lexeme]:
    """The number, with its sign, or the word that begins ``lexemes``."""
    signed = lexemes[:1] if lexemes and lexemes[0].kind == "operator" and lexemes[0].text in _MINUS else []
    value = lexemes[len(signed) : len(signed) + 1]
    if not value or value[0].kind not in ("number", "word") or (signed and value[0].kind == "word"):
        return []
    return [*signed, *value]


def _equation(left: list[_Lexeme], equals: _Lexeme, right: list[_Lexeme]) -> Equation:
    parts = [
        EquationPart(item.start, item.end, "operator" if item.kind == "operator" else "operand")
        for item in left
        if item.kind in ("number", "word", "operator")
    ]
    return Equation(
        " ".join(_plain(item) for item in _without_loose_brackets(left)).replace("( ", "(").replace(" )", ")"),
        "".join(_plain(item) for item in right),
        (
            *parts,
            EquationPart(equals.start, equals.end, "equals"),
            EquationPart(right[0].start, right[-1].end, "result"),
        ),
    )


def _without_loose_brackets(lexemes: list[_Lexeme]) -> list[_Lexeme]:
    """``lexemes`` without brackets that have no partner among them, as in ``(5 + 3 = 8)``."""
    opened: list[int] = []
    loose: set[int] = set()
    for place, lexeme in enumerate(lexemes):
        if lexeme.kind == "opening":
            opened.append(place)
        elif lexeme.kind == "closing":
            if opened:
                opened.pop()
            else:
                loose.add(place)
    loose.update(opened)
    return [lexeme for place, lexeme in enumerate(lexemes) if place not in loose]


def _plain(lexeme: _Lexeme) -> str:
    if lexeme.kind == "operator":
        return _SIGNS.get(lexeme.text, lexeme.text)
    return lexeme.text.replace(",", "")
