"""From a row of a table to a problem: which column holds what, how an answer reads, and what a row may not be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from cotlens.config import FieldMapping
from cotlens.data.answers import parse_number
from cotlens.data.solutions import solution_equations
from cotlens.errors import DataError, near_match
from cotlens.types import Problem

__all__ = ["DEFAULT_FIELDS", "Row", "distinct_problems", "to_problem"]

#: GSM8K's own columns (Cobbe et al., 2021).
DEFAULT_FIELDS = FieldMapping(question="question", answer="answer")

_MARK = "####"
_UNIT = re.compile(r"\s*\([^\W\d_][^()]*\)\s*$")  # 9 (apples)
_MOST_SHOWN = 40


class Row(NamedTuple):
    """One row of a source. ``where`` names it in errors: ``problems.csv, line 3``."""

    where: str
    values: Mapping[str, Any]


def to_problem(row: Row, fields: FieldMapping) -> Problem:
    """The problem in ``row``.

    Raises:
        DataError: a field that is missing, empty or of the wrong kind, naming row and field.
    """
    columns = (fields.question,) if isinstance(fields.question, str) else fields.question
    question = " ".join(" ".join(_text(row, column) for column in columns).split())
    gold, before = _gold(row, fields.answer)
    solution = before if fields.solution is None else _solution(row, fields.solution)
    return Problem(
        id=_stable_id(question) if fields.id is None else _given_id(row, fields.id),
        question=question,
        gold=gold,
        solution=tuple(solution.strip().splitlines()),
        equations=solution_equations(solution),
    )


def distinct_problems(rows: Iterable[Row], fields: FieldMapping) -> list[Problem]:
    """The problems in ``rows``, in their order.

    Raises:
        DataError: a bad row, or a question or an id that stands there twice, naming both places.
    """
    problems: list[Problem] = []
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        problem = to_problem(row, fields)
        for kind, value in (("question", problem.question), ("id", problem.id)):
            earlier = first.setdefault((kind, value), row.where)
            if earlier != row.where:
                raise DataError(f"{row.where}: the {kind} {value[:60]!r} stands there twice, first in {earlier}")
        problems.append(problem)
    return problems


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        raise DataError(f"{row.where}: field {column!r} is missing{near_match(column, map(str, row.values))}")
    return row.values[column]


def _text(row: Row, column: str) -> str:
    value = _value(row, column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{row.where}: field {column!r} is empty")
    if not isinstance(value, str):
        raise DataError(f"{row.where}: field {column!r} is not text: {_shown(value)}")
    if "\0" in value or not _is_unicode(value):
        raise DataError(f"{row.where}: field {column!r} holds characters that are no text: {_shown(value)}")
    return value


def _gold(row: Row, column: str) -> tuple[Decimal, str]:
    """The exact answer, and what stands before it."""
    value = _value(row, column)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        before, mark, final = "", "", str(value)
    else:
        before, mark, final = _text(row, column).rpartition(_MARK)
    number = parse_number(re.sub(r"(?<=\d)_(?=\d)", "", _UNIT.sub("", final)))
    if number is None and mark:
        raise DataError(f"{row.where}: field {column!r}: {_shown(final.strip())} after '{_MARK}' is no finite number")
    if number is None:
        raise DataError(
            f"{row.where}: field {column!r} has no '{_MARK} NUMBER' and is no finite number: {_shown(value)}"
        )
    return number, before


def _solution(row: Row, column: str) -> str:
    value = _value(row, column)
    if value is None:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise DataError(f"{row.where}: field {column!r} is neither text nor a list of lines: {_shown(value)}")
    return value


def _given_id(row: Row, column: str) -> str:
    value = _value(row, column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(row, column)


def _stable_id(question: str) -> str:
    """An id that depends on the question alone: the same on every machine and in any order."""
    return "q-" + hashlib.sha256(question.encode()).hexdigest()[:12]


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and nothing can store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
