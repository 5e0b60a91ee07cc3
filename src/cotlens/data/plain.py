"""Plain text and questions without any calculation: what a model can still do beside arithmetic.

Passages are read for their perplexity, questions are answered by the likeliest of four options. Both are bundled; a
user's own text takes the place of the passages.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cotlens.errors import ConfigError, DataError
from cotlens.files import read_text

__all__ = [
    "BUNDLED",
    "QUESTIONS_READ",
    "TEXTS_READ",
    "PlainQuestion",
    "PlainText",
    "load_plain_questions",
    "load_plain_texts",
]

#: The source that stands for the bundled passages.
BUNDLED = "bundled"
#: How many of the bundled ones are read under each intervention: a few seconds for a small model on two CPU cores.
TEXTS_READ, QUESTIONS_READ = 12, 100


@dataclass(frozen=True, slots=True)
class PlainText:
    """A passage of prose, in one line."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class PlainQuestion:
    """A question of everyday knowledge; ``options[right]`` is its answer."""

    id: str
    question: str
    options: tuple[str, ...]
    right: int

    @property
    def prompt(self) -> str:
        """What stands before an option, which follows it after a space."""
        return f"Question: {self.question}\nAnswer:"


def load_plain_texts(source: str | Path = BUNDLED, limit: int | None = None) -> list[PlainText]:
    """The first ``limit`` passages, or all: the bundled ones, or the paragraphs of the text file ``source``.

    Paragraphs end at a blank line; the line breaks within one become spaces.

    Raises:
        DataError: no such file, no UTF-8 text, or no paragraph in it.
        ConfigError: the limit is below 1.
    """
    if str(source) == BUNDLED:
        texts = [PlainText(**row) for row in _bundled("plain_texts.jsonl")]
    else:
        paragraphs = re.split(r"\n\s*\n", read_text(Path(source).expanduser()).strip())
        joined = [" ".join(paragraph.split()) for paragraph in paragraphs]
        if not any(joined):
            raise DataError(f"{source}: holds no text; give paragraphs with a blank line between them")
        texts = [PlainText(f"text-{number:02d}", text) for number, text in enumerate(joined, start=1)]
    return texts[: _checked(limit, "passages")]


def load_plain_questions(limit: int | None = None) -> list[PlainQuestion]:
    """The first ``limit`` bundled questions, or all; they stand in a mixed order, so a part has all kinds.

    Raises:
        ConfigError: the limit is below 1.
    """
    rows = _bundled("plain_questions.jsonl")
    questions = [PlainQuestion(**row | {"options": tuple(row["options"])}) for row in rows]
    return questions[: _checked(limit, "questions")]


def _bundled(name: str) -> list[dict[str, Any]]:
    text = resources.files("cotlens.data").joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _checked(limit: int | None, what: str) -> int | None:
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit of {what} is {limit}; give 1 or more, or none for all")
    return limit
