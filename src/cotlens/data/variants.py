"""Prompt variants: functions from demonstrations to text, each changing one component and nothing else.

All variants share the questions, the cue, the line structure and the answer sentence. A new variant is a
function from a demonstration to its lines, and one entry in `VARIANTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.data.demonstrations import Demonstration, Step, load_demonstrations, result_names
from cotlens.errors import InputError, near_match

__all__ = ["CUE", "VARIANTS", "Variant", "build_prompt", "check_variants"]

#: Follows every question, in demonstrations and before the completion, byte for byte the same.
CUE = "Let's think step by step\n"

#: How far the wrong results lie from the right ones, by demonstration: near misses, as published.
_WRONG_BY = (2, 3, -1, 4, -2, 6, 1, 5)


@dataclass(frozen=True, slots=True)
class Variant:
    """How one demonstration's solution is written, from `Demonstration` and its place in the prompt."""

    description: str
    solution: Callable[[Demonstration, int], list[str]]


@dataclass(frozen=True, slots=True)
class _Calculated:
    """A step with its numbers filled in; without ``expression`` it only states a fact."""

    step: Step
    expression: str | None
    result: str


def _cot(demo: Demonstration, _: int) -> list[str]:
    return _lines(_calculate(demo), lambda line: f"{line.expression} = {line.result}")


def _text_only(demo: Demonstration, _: int) -> list[str]:
    return _lines(_calculate(demo), lambda line: line.result)


def _equation_only(demo: Demonstration, _: int) -> list[str]:
    steps = list(_calculate(demo))
    lines = [f"{line.expression} = {line.result}." for line in steps if line.expression is not None]
    return [*lines, _answer_line(steps)]


def _incorrect_label(demo: Demonstration, place: int) -> list[str]:
    wrong = _calculate(demo, wrong_by=_WRONG_BY[place % len(_WRONG_BY)])
    return _lines(wrong, lambda line: f"{line.expression} = {line.result}")


VARIANTS: dict[str, Variant] = {
    "cot": Variant("text and equations", _cot),
    "equation_only": Variant("equations without the text around them", _equation_only),
    "text_only": Variant("text with results, without their equations", _text_only),
    "incorrect_label": Variant("results replaced by wrong numbers, carried through the chain", _incorrect_label),
}


def check_variants(names: Sequence[str]) -> None:
    """Raise an `InputError` for a name that is no variant."""
    for name in names:
        if name not in VARIANTS:
            raise InputError(f"variant {name!r} is not known{near_match(name, VARIANTS)}")


def build_prompt(variant: str, question: str, shots: int = 8) -> str:
    """The few-shot prompt that asks ``question`` under ``variant``.

    Args:
        variant: a name in `VARIANTS`.
        question: the question's text.
        shots: number of demonstrations, 0 to 8.

    Raises:
        InputError: an unknown variant, or more shots than there are demonstrations.
    """
    check_variants([variant])
    demonstrations = load_demonstrations()
    if not 0 <= shots <= len(demonstrations):
        raise InputError(f"shots is {shots}; give 0 to {len(demonstrations)}")
    write = VARIANTS[variant].solution
    parts = [
        _ask(demo.question) + "\n".join(write(demo, place)) + "\n\n"
        for place, demo in enumerate(demonstrations[:shots])
    ]
    return "".join(parts) + _ask(question)


def _ask(question: str) -> str:
    return f"Question: {question}\n{CUE}"


def _calculate(demo: Demonstration, wrong_by: int = 0) -> Iterator[_Calculated]:
    """Fill in the numbers; with ``wrong_by``, every result is off by about that, also for later steps."""
    results: list[Fraction] = []
    for step in demo.steps:
        if step.expression is None:
            yield _Calculated(step, None, "")
            continue
        names = result_names(results)
        result = evaluate(step.expression, names)
        if wrong_by:
            # Two wrongs can make a right: the shown result must be neither what the step's own (possibly
            # wrong) numbers give nor what is true.
            result = _wrong(result, wrong_by, avoid=(result, demo.results()[len(results)]))
        expression = step.expression
        for name in sorted(names, reverse=True):
            expression = expression.replace(name, plain_number(names[name]))
        results.append(result)
        yield _Calculated(step, expression, plain_number(result))


def _wrong(right: Fraction, by: int, avoid: tuple[Fraction, Fraction]) -> Fraction:
    wrong = right + by
    while wrong <= 0 or wrong in avoid:
        wrong += 1
    return wrong


def _lines(steps: Iterator[_Calculated], equation: Callable[[_Calculated], str]) -> list[str]:
    filled = list(steps)
    lines = [
        line.step.sentence if line.expression is None else line.step.sentence.format(equation=equation(line))
        for line in filled
    ]
    return [*lines, _answer_line(filled)]


def _answer_line(steps: Sequence[_Calculated]) -> str:
    last = [line for line in steps if line.expression is not None][-1]
    return f"The answer is {last.result}."
