"""Passages and questions as rows of token ids, and from the log-probabilities of their tokens to a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float64

from cotlens.data.plain import PlainQuestion, PlainText
from cotlens.errors import InputError, NonFiniteError
from cotlens.model.language_model import LanguageModel

__all__ = ["Asked", "PlainRows", "Row"]

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "measure": pl.String,
    "item": pl.String,
    "tokens": pl.Int32,
    "log_prob": pl.Float64,
    "correct": pl.Boolean,
}


class Asked(NamedTuple):
    """A token whose log-probability is asked for."""

    place: int
    """Of the token before it in the row."""
    token: int
    run: int
    """The passage or option that it belongs to, among all."""


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids that are read, and what is asked about the tokens that follow them."""

    ids: list[int]
    asked: list[Asked] = field(default_factory=list)

    def pieces(self, most: int) -> Iterator[Row]:
        """The same token ids, asked about at most ``most`` tokens at a time."""
        for start in range(0, len(self.asked), most):
            yield Row(self.ids, self.asked[start : start + most])


class PlainRows:
    """What is read for all passages and questions.

    A passage is a row, scored from its second token on, or from the first where the tokenizer puts a token before it. A
    question is a row together with the option after it, less the option's last token. Options that begin alike share
    what they begin with: four options of one token each are read off one row, the question's.

    Raises:
        InputError: a passage of one token, or an item longer than the model's context.
    """

    def __init__(self, lm: LanguageModel, texts: Sequence[PlainText], questions: Sequence[PlainQuestion]) -> None:
        self.texts = texts
        self.questions = questions
        self.rows = [_text_row(lm, text, run) for run, text in enumerate(texts)]
        run = len(texts)
        for question in questions:
            self.rows += _question_rows(lm, question, run)
            run += len(question.options)
        self.runs = run
        """Passages and options, those of the first question after the last passage."""
        self._tokens = np.bincount([asked.run for row in self.rows for asked in row.asked], minlength=run)

    def table(self, log_probs: Float64[np.ndarray, " runs"], edits: str) -> pl.DataFrame:
        """One row per item, from the summed log-probability of every run; ``edits`` says under what, in an error.

        Raises:
            NonFiniteError: a sum is NaN or infinite.
        """
        items = [*self._passages(log_probs), *self._answers(log_probs)]
        for _, item, _, log_prob, _ in items:
            if not np.isfinite(log_prob):
                raise NonFiniteError(
                    f"{item}, under {edits}: its log-probability is {log_prob}; the model gives NaN or infinity"
                )
        return pl.DataFrame(items, schema=SCHEMA, orient="row")

    def _passages(self, log_probs: np.ndarray) -> Iterator[tuple[str, str, int, float, bool | None]]:
        for run, text in enumerate(self.texts):
            yield "text", text.id, int(self._tokens[run]), float(log_probs[run]), None

    def _answers(self, log_probs: np.ndarray) -> Iterator[tuple[str, str, int, float, bool | None]]:
        first = len(self.texts)
        for question in self.questions:
            options = slice(first, first := first + len(question.options))
            tokens, per_token = self._tokens[options], log_probs[options] / self._tokens[options]
            right = question.right
            correct = bool(per_token.argmax() == right)
            # A broken model is told by the options that it breaks, be they right or wrong.
            value = float(per_token[right]) if np.isfinite(per_token).all() else float("nan")
            yield "questions", question.id, int(tokens[right]), value, correct


def _text_row(lm: LanguageModel, text: PlainText, run: int) -> Row:
    ids = lm.encode(text.text)
    if len(ids) < 2:
        raise InputError(f"{text.id}: {text.text!r} is a single token, which nothing predicts; give longer passages")
    _check_length(lm, text.id, ids)
    return Row(ids[:-1], [Asked(place, token, run) for place, token in enumerate(ids[1:])])


def _question_rows(lm: LanguageModel, question: PlainQuestion, run: int) -> list[Row]:
    """Rows for all options, the longest first, so that what begins alike finds the row that it is part of."""
    prompt = lm.encode(question.prompt)
    whole = [lm.encode(f"{question.prompt} {option}") for option in question.options]
    rows: list[Row] = []
    for place in sorted(range(len(whole)), key=lambda place: -len(whole[place])):
        ids = whole[place]
        _check_length(lm, question.id, ids)
        start = max(1, _common_length(prompt, ids))  # a tokenizer may join the prompt's end and the option
        row = next((row for row in rows if row.ids[: len(ids) - 1] == ids[:-1]), None)
        if row is None:
            rows.append(row := Row(ids[:-1]))
        row.asked.extend(Asked(before, ids[before + 1], run + place) for before in range(start - 1, len(ids) - 1))
    return rows


def _common_length(prompt: Sequence[int], ids: Sequence[int]) -> int:
    pairs = zip(prompt, ids[:-1], strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(ids) - 1))


def _check_length(lm: LanguageModel, item: str, ids: Sequence[int]) -> None:
    if lm.context_length is not None and len(ids) - 1 > lm.context_length:
        raise InputError(f"{item} is {len(ids)} tokens long; {lm.name} reads at most {lm.context_length}")
