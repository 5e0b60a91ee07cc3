"""Word problems: the bundled set, and JSONL files in GSM8K's format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from cotlens.data.answers import parse_number
from cotlens.errors import DataError
from cotlens.types import Problem

__all__ = ["load_problems"]


def load_problems(source: str = "mini", limit: int | None = None) -> list[Problem]:
    """Problems in their file's order.

    Args:
        source: ``mini``, or the path of a JSONL file whose rows have ``question`` and ``answer``, the answer
            ending in ``#### NUMBER`` as in GSM8K (Cobbe et al., 2021).
        limit: take the first so many.

    Raises:
        DataError: no such file, or a row that is not valid, naming file, line and field.
    """
    problems = _mini() if source == "mini" else _gsm8k_file(Path(source).expanduser())
    return problems[:limit]


def _mini() -> list[Problem]:
    text = resources.files("cotlens.data").joinpath("mini.jsonl").read_text(encoding="utf-8")
    return [
        Problem(row["id"], row["question"], Decimal(row["answer"]), tuple(row["solution"]))
        for row in map(json.loads, text.splitlines())
    ]


def _gsm8k_file(path: Path) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for where, row in _rows(path):
        problem = _gsm8k_problem(row, where)
        if problem.id in problems:
            raise DataError(f"{where}: the question {problem.question[:60]!r} stands there twice; remove one")
        problems[problem.id] = problem
    if not problems:
        raise DataError(f"{path}: holds no problems; give one JSON object with 'question' and 'answer' a line")
    return list(problems.values())


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give 'mini' or the path of a JSONL file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; give the JSONL file in it") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read as UTF-8 text: {error}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield where, json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
            raise DataError(f"{where}: not valid JSON ({error})") from None


def _gsm8k_problem(row: Any, where: str) -> Problem:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with 'question' and 'answer', got {type(row).__name__}")
    for field in ("question", "answer"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise DataError(f"{where}: field {field!r} is missing, empty or not text")
    solution, mark, final = row["answer"].rpartition("####")
    if not mark:
        raise DataError(f"{where}: field 'answer' has no '#### NUMBER'")
    gold = parse_number(final)
    if gold is None:
        raise DataError(f"{where}: {final.strip()[:40]!r} after '####' is no finite number")
    question = " ".join(row["question"].split())
    return Problem(_stable_id(question), question, gold, tuple(solution.strip().splitlines()))


def _stable_id(question: str) -> str:
    """An id that depends on the question alone: the same on every machine and in any order."""
    return "q-" + hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:12]
