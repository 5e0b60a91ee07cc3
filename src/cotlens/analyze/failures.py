"""How a completion fails: its equations are executed, and what they give is set beside what it states.

The classes are told by rules, in this order; a completion belongs to the first that fits.

1. ``correct``: the stated answer is the right one.
2. ``repetition``: it states no answer and ends in a loop.
3. ``truncated``: it states no answer and was cut at the length limit, not followed by an invented question.
4. ``bad_format``: it states no answer in the form asked for, though it came to its end.
5. ``no_equation``: it states a wrong answer without any equation that can be executed.
6. ``arithmetic_slip``: an equation before the answer does not hold.
7. ``right_equations``: all equations hold and the last gives the right answer, and another one is stated.
8. ``wrong_plan``: all equations hold, and they lead elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from cotlens.analyze.repetition import ends_in_a_loop
from cotlens.data.answers import until_next_question
from cotlens.data.arithmetic import evaluate
from cotlens.data.equations import Equation, find_equations
from cotlens.data.roles import ANSWER_PHRASE
from cotlens.errors import DataError

__all__ = ["CLASSES", "Executed", "Failure", "classify", "executed_equations"]

#: Class: what it is called where it is shown.
CLASSES: dict[str, str] = {
    "correct": "correct",
    "arithmetic_slip": "arithmetic slip",
    "right_equations": "right equations, wrong answer",
    "wrong_plan": "wrong plan",
    "no_equation": "no equation",
    "bad_format": "bad format",
    "truncated": "truncated",
    "repetition": "repetition",
}

_TERM = re.compile(r"\d[\d.]*|\.\d+|[^\W\d_]+(?:[-/'][^\W\d_]+)*")
_PERCENT = re.compile(r"[)\s*]*\\?%")
_NAME = "r{}_"


@dataclass(frozen=True, slots=True)
class Failure:
    """The class of a completion, and what its equations say."""

    kind: str
    equations: int
    """Equations before the answer that can be executed."""
    slips: int
    """How many of them do not hold."""
    right_if_executed: bool
    """Whether the last equation gives the right answer once each result is what its equation gives, carried on into
    the equations that use it."""


@dataclass(frozen=True, slots=True)
class Executed:
    """An equation that can be executed, with percentages as they are written or as parts of a hundred."""

    equation: Equation
    expression: str
    value: Fraction
    """What the expression gives."""
    stated: Fraction
    holds: bool


def classify(text: str, gold: Decimal, stated_answer: bool, correct: bool, stop_reason: str) -> Failure:
    """The class of one completion.

    Args:
        text: what the model wrote.
        gold: the right answer.
        stated_answer: whether it states an answer, by the strict rule.
        correct: whether that is the right one.
        stop_reason: why it ended; ``length`` is the length limit.
    """
    counted = _before_answer(text)
    steps = list(executed_equations(counted))
    slips = sum(not step.holds for step in steps)
    reached = bool(steps) and _carried_on(steps) == Fraction(gold)
    if correct:
        kind = "correct"
    elif not stated_answer:
        solution = until_next_question(text)
        cut = stop_reason == "length" and solution == text  # an invented question ends a solution too
        kind = "repetition" if ends_in_a_loop(solution) else "truncated" if cut else "bad_format"
    elif not steps:
        kind = "no_equation"
    elif slips:
        kind = "arithmetic_slip"
    else:
        kind = "right_equations" if reached else "wrong_plan"
    return Failure(kind, len(steps), slips, reached)


def _before_answer(text: str) -> str:
    """What counts of a solution: all up to the end of the line that states the answer."""
    counted = until_next_question(text)
    phrase = ANSWER_PHRASE.search(counted)
    return counted if phrase is None else counted[: phrase.end()] + counted[phrase.end() :].partition("\n")[0]


def executed_equations(text: str) -> Iterator[Executed]:
    """The equations of ``text`` that are arithmetic, in order."""
    for equation in find_equations(text):
        readings = [(equation.expression, equation.result), _of_hundred(text, equation)]
        steps = [step for reading in dict.fromkeys(readings) if (step := _step(equation, *reading)) is not None]
        if steps:
            # "20% * 50 = 10" holds, and so does "20% + 30% = 50%"; a reading that holds is the one meant.
            yield next((step for step in steps if step.holds), steps[0])


def _step(equation: Equation, expression: str, result: str) -> Executed | None:
    """None for what is no arithmetic: words as numbers, a division by zero."""
    try:
        exact, stated = evaluate(expression), evaluate(result)
    except DataError:
        return None
    return Executed(equation, expression, exact, stated, _is_rounded(exact, stated, result))


def _is_rounded(exact: Fraction, stated: Fraction, written: str) -> bool:
    """Whether ``stated`` is ``exact``, or that rounded or cut to the decimal places it is written with."""
    places = re.match(r"-?\d*\.(\d+)", written)
    return exact == stated or (places is not None and abs(exact - stated) < Fraction(1, 10 ** len(places[1])))


def _of_hundred(text: str, equation: Equation) -> tuple[str, str]:
    """Expression and result with each number before a percent sign divided by a hundred."""
    *left, _, right = equation.parts
    marked = [bool(_PERCENT.match(text, part.end)) for part in left if part.role == "operand"]
    terms = _TERM.findall(equation.expression)
    if len(marked) != len(terms):
        return equation.expression, equation.result
    following = iter(marked)
    expression = _TERM.sub(lambda term: f"({term[0]}/100)" if next(following) else term[0], equation.expression)
    result = f"{equation.result}/100" if _PERCENT.match(text, right.end) else equation.result
    return expression, result


def _carried_on(steps: list[Executed]) -> Fraction | None:
    """The last result, every result being what its equation gives and standing for itself in later equations."""
    corrected: dict[str, Fraction] = {}
    names: dict[Fraction, str] = {}
    value: Fraction | None = None
    for place, step in enumerate(steps):

        def as_corrected(term: re.Match[str]) -> str:
            number = _number(term[0])
            return term[0] if number is None else names.get(number, term[0])

        try:
            value = evaluate(_TERM.sub(as_corrected, step.expression), corrected)
        except DataError:
            return None
        if step.holds and not corrected:
            value = step.stated  # a rounded result goes on as it is written
        elif value != step.stated:
            name = _NAME.format(place)
            names[step.stated], corrected[name] = name, value
    return value


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except ValueError:
        return None
