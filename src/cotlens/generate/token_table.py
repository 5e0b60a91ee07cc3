"""The table of tokens: where each token of prompt and completion belongs, and its role."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import polars as pl

from cotlens.data.prompts import Prompt, Section
from cotlens.data.roles import mark_roles, role_of_each
from cotlens.model.language_model import LanguageModel

__all__ = ["completion_tokens", "prompt_tokens", "token_frame"]

SCHEMA: dict[str, Any] = {
    "variant": pl.String,
    "question_id": pl.String,
    "position": pl.Int32,
    "token_id": pl.Int32,
    "text": pl.String,
    "start": pl.Int32,
    "end": pl.Int32,
    "part": pl.String,
    "demonstration": pl.Int32,
    "line": pl.Int32,
    "role": pl.String,
}

Row = dict[str, Any]


def prompt_tokens(lm: LanguageModel, prompt: Prompt, ids: Sequence[int]) -> list[Row]:
    """One row per token of a prompt."""
    offsets = lm.offsets(prompt.text, list(ids), prompt.special_tokens)
    spans = [
        span._replace(start=span.start + section.start, end=span.end + section.start)
        for section in prompt.sections
        if section.part != "cue"
        for span in mark_roles(prompt.text[section.start : section.end])
    ]
    roles = role_of_each(offsets, spans)
    starts = [section.start for section in prompt.sections]
    rows = []
    for position, ((start, end), token, role) in enumerate(zip(offsets, ids, roles, strict=True)):
        section = _section_of(prompt, starts, end)
        row = _row(position, token, prompt.text[start:end], start, end, role)
        if section is not None:
            row |= {"part": section.part, "demonstration": section.demonstration}
            if section.part == "solution":
                row["line"] = prompt.text.count("\n", section.start, max(section.start, end - 1))
        rows.append(row)
    return rows


def completion_tokens(lm: LanguageModel, ids: Sequence[int], first_position: int) -> list[Row]:
    """One row per generated token; ``start`` and ``end`` are characters of the completion."""
    text = lm.decode(list(ids))
    offsets = lm.pieces(list(ids))
    roles = role_of_each(offsets, mark_roles(text))
    return [
        _row(first_position + step, token, text[start:end], start, end, role)
        | {"part": "completion", "line": text.count("\n", 0, max(0, end - 1))}
        for step, ((start, end), token, role) in enumerate(zip(offsets, ids, roles, strict=True))
    ]


def token_frame(variant: str, question_id: str | None, rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as part of ``tokens/*.parquet``; without ``question_id`` they belong to every question."""
    return pl.DataFrame(
        [{"variant": variant, "question_id": question_id, **row} for row in rows], schema=SCHEMA, orient="row"
    )


def _row(position: int, token: int, text: str, start: int, end: int, role: str) -> Row:
    return {
        "position": position, "token_id": token, "text": text, "start": start, "end": end,
        "part": "frame", "demonstration": None, "line": None, "role": role,
    }  # fmt: skip


def _section_of(prompt: Prompt, starts: Sequence[int], end: int) -> Section | None:
    """The section that holds the last character of a token; a token's first one is often the space before a word."""
    if end == 0:
        return None
    place = bisect_right(starts, end - 1) - 1
    return prompt.sections[place] if place >= 0 and end - 1 < prompt.sections[place].end else None
