"""What a run's completions are, before any is looked at closely: where they lie, how long, and with what in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import polars as pl

from cotlens.store import Run

__all__ = ["StoredVariant", "stored_variants"]


@dataclass(frozen=True, slots=True)
class StoredVariant:
    """The completions of one variant."""

    name: str
    parts: tuple[Path, ...]
    rows: int
    prefix: tuple[int, ...]
    """The token ids that all its prompts begin with; the last token of a prompt is never among them."""
    longest: int
    """Tokens of the longest text."""
    most_steps: int
    """Generated tokens of the text that has most."""
    most_texts: int
    """Texts of the part that has most."""
    part_steps: int
    """Generated tokens of the part that has most."""


def stored_variants(run: Run) -> list[StoredVariant]:
    """The variants of a run in the order in which they were generated; their token ids are read part by part."""
    found: dict[str, list[Path]] = {}
    for part in run.part_paths("generate", "completions/"):
        variant = pl.scan_parquet(part).select("variant").head(1).collect().item()
        found.setdefault(variant, []).append(part)
    return [_look_through(name, parts) for name, parts in found.items()]


def _look_through(name: str, parts: Sequence[Path]) -> StoredVariant:
    prefix: list[int] | None = None
    rows = longest = most_steps = most_texts = part_steps = 0
    for part in parts:
        texts = pl.read_parquet(part, columns=["token_ids", "prompt_length"]).rows()
        for ids, prompt_length in texts:
            own = ids[: prompt_length - 1]  # the last one predicts the first step
            prefix = own if prefix is None else _common(prefix, own)
            longest = max(longest, len(ids))
            most_steps = max(most_steps, len(ids) - prompt_length)
        rows += len(texts)
        most_texts = max(most_texts, len(texts))
        part_steps = max(part_steps, sum(len(ids) - prompt_length for ids, prompt_length in texts))
    return StoredVariant(name, tuple(parts), rows, tuple(prefix or ()), longest, most_steps, most_texts, part_steps)


def _common(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]
