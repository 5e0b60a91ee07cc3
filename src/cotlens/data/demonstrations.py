"""Demonstrations as data: sentences with a place for an equation, and expressions that can be executed.

A set has three lists: ``mixed`` for most variants, and ``add_only`` and ``mult_only``, which use one operator. Three
sets are bundled; a user's own is a YAML file of the same form, or a plain list for ``mixed`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from cotlens.data.arithmetic import evaluate, plain_number
from cotlens.errors import DataError, near_match
from cotlens.files import parse_yaml, read_text

__all__ = ["DEMONSTRATION_SETS", "Demonstration", "Kind", "Step", "load_demonstrations", "result_names"]

Kind = Literal["mixed", "add_only", "mult_only"]

#: The bundled sets, in our own words; the first is the default.
DEMONSTRATION_SETS = ("everyday", "workshop", "journey")

_PLACE = "{equation}"


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence of a solution.

    ``sentence`` has ``{equation}`` where the equation stands, if it has one. ``expression`` may use the
    results of earlier steps as ``r1``, ``r2``, ...
    """

    sentence: str
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked example. The answer is the result of the last step that calculates."""

    question: str
    steps: tuple[Step, ...]

    def results(self) -> list[Fraction]:
        """The correct results of the calculating steps, in order."""
        found: list[Fraction] = []
        for step in self.steps:
            if step.expression is not None:
                found.append(evaluate(step.expression, result_names(found)))
        return found


def result_names(results: Sequence[Fraction]) -> dict[str, Fraction]:
    """``r1``, ``r2``, ... for use in later expressions."""
    return {f"r{number}": value for number, value in enumerate(results, start=1)}


def load_demonstrations(source: str = DEMONSTRATION_SETS[0], kind: Kind = "mixed") -> tuple[Demonstration, ...]:
    """The demonstrations of a bundled set or of a user's YAML file, every number in them checked.

    Args:
        source: a name in `DEMONSTRATION_SETS`, or the path of a YAML file.
        kind: which list of the set.

    Raises:
        DataError: no such set or file, or a demonstration that is not right, naming file, place and field.
    """
    lists = _bundled(source) if source in DEMONSTRATION_SETS else _read(_file_text(source), source)
    if kind not in lists:
        raise DataError(f"{source}: has no list {kind!r}, which the variant {kind} needs; known: {', '.join(lists)}")
    return lists[kind]


@cache
def _bundled(name: str) -> Mapping[str, tuple[Demonstration, ...]]:
    file = resources.files("cotlens.data").joinpath("demonstration_sets", f"{name}.yaml")
    return _read(file.read_text(encoding="utf-8"), file.name)


def _file_text(source: str) -> str:
    path = Path(source).expanduser()
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        hint = near_match(source, DEMONSTRATION_SETS)
        raise DataError(f"demonstrations {source!r} are not known{hint}; or give the path of a YAML file")
    return read_text(path)


def _read(text: str, where: str) -> Mapping[str, tuple[Demonstration, ...]]:
    data = parse_yaml(text, where)
    if isinstance(data, list):
        data = {"mixed": data}
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected a list of demonstrations, or lists under {', '.join(get_args(Kind))}")
    for name, items in data.items():
        if name not in get_args(Kind):
            raise DataError(f"{where}: unknown list {name!r}{near_match(str(name), get_args(Kind))}")
        if not isinstance(items, list) or not items:
            raise DataError(f"{where}: {name} is empty or no list")
    return {
        name: tuple(_demonstration(item, f"{where}, {name} {place}") for place, item in enumerate(items, start=1))
        for name, items in data.items()
    }


def _demonstration(item: Any, where: str) -> Demonstration:
    fields = _fields(item, where, required=("question", "steps", "answer"))
    question = _text(fields["question"], f"{where}, question")
    if not isinstance(fields["steps"], list) or not fields["steps"]:
        raise DataError(f"{where}: steps are empty or no list")
    steps: list[Step] = []
    results: list[Fraction] = []
    for number, raw in enumerate(fields["steps"], start=1):
        steps.append(_step(raw, f"{where}, step {number}", results))
    if not results:
        raise DataError(f"{where}: no step has an expression; the last one that has gives the answer")
    if _number(fields["answer"], f"{where}, answer") != results[-1]:
        raise DataError(
            f"{where}: the answer is {fields['answer']}, but the last result is {plain_number(results[-1])}"
        )
    return Demonstration(question, tuple(steps))


def _step(raw: Any, where: str, results: list[Fraction]) -> Step:
    """One step; its result is appended to ``results``."""
    fields = _fields(raw, where, required=("sentence",), optional=("expression", "result"))
    sentence = _text(fields["sentence"], f"{where}, sentence")
    expression = fields.get("expression")
    places = sentence.count(_PLACE)
    if set("{}") & set(sentence.replace(_PLACE, "")):
        raise DataError(f"{where}: {sentence!r} has a brace that is not {_PLACE}")
    if expression is None:
        if places or "result" in fields:
            raise DataError(f"{where}: has {_PLACE} or a result, but no expression")
        return Step(sentence)
    if places != 1:
        raise DataError(f"{where}: a sentence with an expression has {_PLACE} exactly once, this one {places} times")
    if "result" not in fields:
        raise DataError(f"{where}: field 'result' is missing")
    expression = _text(str(expression), f"{where}, expression")
    try:
        value = evaluate(expression, result_names(results))
    except DataError as error:
        raise DataError(f"{where}: {error}; write numbers, + - * / and r1, r2, ... for earlier results") from None
    if _number(fields["result"], f"{where}, result") != value:
        raise DataError(f"{where}: {expression} is {plain_number(value)}, but the result says {fields['result']}")
    results.append(value)
    return Step(sentence, expression)


def _fields(item: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise DataError(f"{where}: expected the fields {', '.join(required)}, got {type(item).__name__}")
    for name in item:
        if name not in (*required, *optional):
            raise DataError(f"{where}: unknown field {name!r}{near_match(str(name), (*required, *optional))}")
    for name in required:
        if item.get(name) is None:
            raise DataError(f"{where}: field {name!r} is missing or empty")
    return item


def _text(value: Any, where: str) -> str:
    """One line of text."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: empty or no text")
    return " ".join(value.split())


def _number(value: Any, where: str) -> Fraction:
    try:
        return evaluate(str(value))
    except DataError:
        raise DataError(f"{where}: {str(value)[:40]!r} is no number") from None
