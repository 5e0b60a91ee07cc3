"""Token texts and roles as a run stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from cotlens.store import Run

__all__ = ["completion_tokens", "has_tokens", "prompt_tokens", "rebuilt", "with_equation"]

Token = dict[str, Any]


def has_tokens(run: Run) -> bool:
    record = run.manifest.stages.get("generate")
    return record is not None and any(name.startswith("tokens/") for name in record.parts)


def completion_tokens(run: Run, variant: str, question_id: str) -> list[Token]:
    """Text, token_id and role of each generated token; one that shares a character with the one before may be empty."""
    found = (
        run.scan_tokens()
        .filter(part="completion", variant=variant, question_id=question_id)
        .sort("position")
        .select("text", "token_id", "role")
    )
    return found.collect().to_dicts()


def prompt_tokens(run: Run, question_id: str) -> dict[str, list[Token]]:
    """The tokens of every variant's prompt with that question, in order."""
    found = (
        run.scan_tokens()
        .filter(
            pl.col("part") != "completion", pl.col("question_id").is_null() | (pl.col("question_id") == question_id)
        )
        .sort("variant", "position")
        .select("variant", "text", "start", "end", "demonstration")
        .collect()
    )
    return {str(variant): rows.to_dicts() for (variant,), rows in found.partition_by("variant", as_dict=True).items()}


def rebuilt(tokens: Iterable[Mapping[str, Any]]) -> str:
    """The text of a prompt, its tokens put in their places.

    Tokens that share a character repeat it, and some tokenizers leave the space before a word out of its token.
    """
    text = ""
    for token in tokens:
        text += " " * (token["start"] - len(text)) + token["text"][max(0, len(text) - token["start"]) :]
    return text


def with_equation(run: Run) -> pl.DataFrame:
    """Variant and question of the completions that write an equation."""
    written = run.scan_tokens().filter(part="completion", role="equals")
    return written.select("variant", "question_id").unique().collect()
