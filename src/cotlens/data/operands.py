"""Demonstrations whose solution calculates, correctly, with numbers that are not the question's."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from cotlens.data.demonstrations import Demonstration, Step
from cotlens.errors import DataError

__all__ = ["other_operands"]

_LITERAL = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w)")
_IN_WORDS = dict(
    zip("one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13), strict=True)
)
_TRIES = 20_000


def other_operands(demo: Demonstration, seed: int) -> Demonstration:
    """``demo`` with each number of its solution replaced, the same one everywhere, and its question as it was.

    The new numbers have as many digits and lead to positive results that are whole where the true ones are. Neither
    they nor their results stand in the question or among the true results.

    Raises:
        DataError: if no such numbers are found.
    """
    generator = random.Random(seed)
    truth = demo.results()
    literals = sorted({literal for step in demo.steps for text in _texts(step) for literal in _literals(text)})
    taken = {Fraction(literal) for literal in [*literals, *_literals(demo.question)]} | set(truth)
    taken |= {Fraction(_IN_WORDS[word]) for word in re.findall(r"[a-z]+", demo.question.lower()) if word in _IN_WORDS}
    for _ in range(_TRIES):
        mapping = {literal: _like(literal, generator) for literal in literals}
        values = {Fraction(value) for value in mapping.values()}
        if len(values) < len(literals) or values & taken:
            continue
        changed = replace(demo, steps=tuple(_replaced(step, mapping) for step in demo.steps))
        try:
            results = changed.results()
        except DataError:  # divides by zero
            continue
        if not taken & set(results) and all(_is_fit(new, old) for new, old in zip(results, truth, strict=True)):
            return changed
    raise DataError(
        f"the demonstration {demo.question[:60]!r} has no other numbers that give whole results; "
        "leave out the variant irrelevant_operands or change the demonstration"
    )


def _texts(step: Step) -> list[str]:
    return [step.sentence, step.expression or ""]


def _literals(text: str) -> list[str]:
    """The numbers in ``text``, without thousands separators."""
    return [literal.replace(",", "") for literal in _LITERAL.findall(text)]


def _like(literal: str, generator: random.Random) -> str:
    """A number with as many digits before and after the point, 2 at least."""
    whole, point, places = literal.partition(".")
    low = 2 if len(whole) == 1 else 10 ** (len(whole) - 1)
    return (
        f"{generator.randrange(low, 10 ** len(whole))}{point}{''.join(generator.choices('123456789', k=len(places)))}"
    )


def _replaced(step: Step, mapping: Mapping[str, str]) -> Step:
    def other(match: re.Match[str]) -> str:
        new = mapping[match[0].replace(",", "")]
        return f"{Decimal(new):,f}" if "," in match[0] else new

    def swap(text: str) -> str:
        return _LITERAL.sub(other, text)

    return Step(swap(step.sentence), None if step.expression is None else swap(step.expression))


def _is_fit(new: Fraction, old: Fraction) -> bool:
    return new > 1 and (new.denominator == 1 or old.denominator > 1)
