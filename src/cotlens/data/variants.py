"""Prompt variants: functions from demonstrations to text, each changing one component and nothing else.

All variants share the questions, the line structure and the answer sentence. A new variant is a function from a
demonstration to its lines, and one entry in `VARIANTS`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.data.demonstrations import Demonstration, Kind, Step, result_names
from cotlens.data.operands import other_operands
from cotlens.errors import InputError, near_match

#: Follows every question, in demonstrations and before the completion, byte for byte the same.
CUE = "Let's think step by step\n"

#: Follows a free completion and asks for its answer: the second stage of zero-shot prompting (Kojima et al., 2022).
ELICIT = "\nTherefore, the answer is"

#: ``file:PATH`` is a variant whose prompt is a user's own text.
FILE_PREFIX = "file:"

#: How far the wrong results lie from the right ones, by demonstration: near misses, as published.
_WRONG_BY = (2, 3, -1, 4, -2, 6, 1, 5)

#: Stand where results should; no numbers, and no words of the bundled demonstrations.
_WORDS = (
    "lantern velvet copper meadow falcon ribbon thunder walnut thistle canyon violet saddle ember willow feather "
    "pebble anchor cobalt timber raven crystal blanket ginger harvest mirror puzzle shadow tulip whistle zephyr amber "
    "bronze"
).split()
_WORDS_EACH = 4  # words set aside for each demonstration, so that no word stands in two


@dataclass(frozen=True, slots=True)
class Variant:
    """What a variant shows, and how.

    ``solution`` writes the lines that follow the cue, from a demonstration and its number in the set; None shows no
    demonstrations. ``demonstrations`` names the list of the set that is used. ``elicit`` is appended to a completion
    that states no answer, and the model asked once more.
    """

    description: str
    solution: Callable[[Demonstration, int], list[str]] | None
    demonstrations: Kind = "mixed"
    cue: str = CUE
    elicit: str = ""


@dataclass(frozen=True, slots=True)
class _Calculated:
    """A step with its numbers filled in; without ``expression`` it only states a fact."""

    step: Step
    expression: str | None
    result: str

    def line(self, equation: str) -> str:
        return self.step.sentence if self.expression is None else self.step.sentence.replace("{equation}", equation)


def _cot(demo: Demonstration, _: int) -> list[str]:
    return _write(_calculate(demo))


def _text_only(demo: Demonstration, _: int) -> list[str]:
    steps = list(_calculate(demo))
    return [*(step.line(step.result) for step in steps), _answer_line(steps)]


def _equation_only(demo: Demonstration, _: int) -> list[str]:
    steps = list(_calculate(demo))
    return [*(f"{_equation(step)}." for step in steps if step.expression is not None), _answer_line(steps)]


def _incorrect_label(demo: Demonstration, place: int) -> list[str]:
    """Off by `_WRONG_BY`, or a little more: two wrongs could make a right, so a result is neither what the step's own,
    possibly wrong, numbers give nor what is true."""
    truth = demo.results()

    def wrong(given: Fraction, number: int) -> str:
        shown = given + _WRONG_BY[place % len(_WRONG_BY)]
        while shown <= 0 or shown in (given, truth[number]):
            shown += 1
        return plain_number(shown)

    return _write(_calculate(demo, wrong))


def _incorrect_ood_label(demo: Demonstration, place: int) -> list[str]:
    def word(_: Fraction, number: int) -> str:
        return _WORDS[(place * _WORDS_EACH + number) % len(_WORDS)]

    return _write(_calculate(demo, word))


def _answer_only(demo: Demonstration, _: int) -> list[str]:
    return _cot(demo, 0)[-1:]


def _repeat_question(demo: Demonstration, _: int) -> list[str]:
    return [demo.question, *_answer_only(demo, 0)]


def _recall_then_infer(demo: Demonstration, _: int) -> list[str]:
    *lines, answer = _cot(demo, 0)
    recalled = [line for line, step in zip(lines, demo.steps, strict=True) if step.expression is None]
    inferred = [line for line, step in zip(lines, demo.steps, strict=True) if step.expression is not None]
    return ["What we know:", *recalled, "What follows:", *inferred, answer]


def _shuffled_steps(demo: Demonstration, place: int) -> list[str]:
    *lines, answer = _cot(demo, 0)
    shuffled, generator = list(lines), random.Random(place)
    while shuffled == lines and len(set(lines)) > 1:
        generator.shuffle(shuffled)
    return [*shuffled, answer]


def _irrelevant_operands(demo: Demonstration, place: int) -> list[str]:
    return _cot(other_operands(demo, seed=place), place)


VARIANTS: dict[str, Variant] = {
    "cot": Variant("text and equations", _cot),
    "equation_only": Variant("equations without the text around them", _equation_only),
    "text_only": Variant("text with results, without their equations", _text_only),
    "incorrect_label": Variant("results replaced by wrong numbers, carried through the chain", _incorrect_label),
    "incorrect_ood_label": Variant("results replaced by words, carried through the chain", _incorrect_ood_label),
    "add_only": Variant("demonstrations of their own that only add", _cot, demonstrations="add_only"),
    "mult_only": Variant("demonstrations of their own that only multiply", _cot, demonstrations="mult_only"),
    "answer_only": Variant("the answer without a solution", _answer_only),
    "repeat_question": Variant("the question again in place of a solution", _repeat_question),
    "recall_then_infer": Variant("facts first, then the steps that calculate, under headings", _recall_then_infer),
    "shuffled_steps": Variant("the solution's sentences in another order", _shuffled_steps),
    "irrelevant_operands": Variant("right equations on numbers that are not the question's", _irrelevant_operands),
    "zero_shot": Variant("the question alone; the answer is asked for afterwards", None, cue="", elicit=ELICIT),
    "zero_shot_cot": Variant("the question and the cue; the answer is asked for afterwards", None, elicit=ELICIT),
}


def find_variant(name: str) -> Variant:
    """The built-in variant ``name``.

    Raises:
        InputError: with the nearest name, if there is none.
    """
    if name not in VARIANTS:
        raise InputError(f"variant {name!r} is not known (your own text is file:PATH){near_match(name, VARIANTS)}")
    return VARIANTS[name]


def _calculate(demo: Demonstration, shown: Callable[[Fraction, int], str] | None = None) -> Iterator[_Calculated]:
    """Fill in the numbers.

    With ``shown`` a result is written as that function of its value and its number among the results. What is shown
    is also what later steps use: a wrong number for their own results, a word only in what they write.
    """
    values: list[Fraction] = []
    texts: list[str] = []
    for step in demo.steps:
        if step.expression is None:
            yield _Calculated(step, None, "")
            continue
        value = evaluate(step.expression, result_names(values))
        text = plain_number(value) if shown is None else shown(value, len(values))
        expression = re.sub(r"\br(\d+)\b", lambda match: texts[int(match[1]) - 1], step.expression)
        values.append(Fraction(text) if re.fullmatch(r"[\d./]+", text) else value)
        texts.append(f"({text})" if "/" in text else text)
        yield _Calculated(step, expression, text)


def _write(calculated: Iterator[_Calculated]) -> list[str]:
    steps = list(calculated)
    return [*(step.line(_equation(step)) for step in steps), _answer_line(steps)]


def _equation(step: _Calculated) -> str:
    return f"{step.expression} = {step.result}"


def _answer_line(steps: Sequence[_Calculated]) -> str:
    last = [step for step in steps if step.expression is not None][-1]
    return f"The answer is {last.result}."
