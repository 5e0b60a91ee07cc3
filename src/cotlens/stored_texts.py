"""What a run's completions are, before any is looked at closely: where they lie, how long, with what in common, and
which of them discovery reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import polars as pl

from cotlens.config import DiscoverConfig
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
    wanted: frozenset[str]
    """The questions whose completions discovery reads: all, those answered right, or a draw of either."""

    def read(self, completions: pl.DataFrame) -> pl.DataFrame:
        """Those of ``completions`` that discovery reads."""
        return completions.filter(pl.col("question_id").is_in(sorted(self.wanted)))


def stored_variants(run: Run) -> list[StoredVariant]:
    """The variants of a run in the order in which they were generated; their token ids are read part by part."""
    found: dict[str, list[Path]] = {}
    for part in run.part_paths("generate", "completions/"):
        variant = pl.scan_parquet(part).select("variant").head(1).collect().item()
        found.setdefault(variant, []).append(part)
    return [_look_through(name, parts, run.config.discover) for name, parts in found.items()]


def _look_through(name: str, parts: Sequence[Path], config: DiscoverConfig) -> StoredVariant:
    graded = ["correct"] if config.questions == "correct" else []
    prefix: list[int] | None = None
    candidates: list[str] = []
    rows = longest = most_steps = most_texts = part_steps = 0
    for part in parts:
        frame = pl.read_parquet(part, columns=["token_ids", "prompt_length", "question_id", *graded])
        candidates += (frame.filter("correct") if graded else frame)["question_id"].to_list()
        texts = frame.select("token_ids", "prompt_length").rows()
        for ids, prompt_length in texts:
            own = ids[: prompt_length - 1]  # the last one predicts the first step
            prefix = own if prefix is None else _common(prefix, own)
            longest = max(longest, len(ids))
            most_steps = max(most_steps, len(ids) - prompt_length)
        rows += len(texts)
        most_texts = max(most_texts, len(texts))
        part_steps = max(part_steps, sum(len(ids) - prompt_length for ids, prompt_length in texts))
    return StoredVariant(
        name, tuple(parts), rows, tuple(prefix or ()), longest, most_steps, most_texts, part_steps,
        wanted=frozenset(_draw(candidates, config)),
    )  # fmt: skip


def _draw(candidates: Sequence[str], config: DiscoverConfig) -> Sequence[str]:
    """``config.sample`` of them, the same ones on every machine; whether a question comes before another depends on the
    two and the seed alone, so samples from overlapping candidates overlap."""
    if config.sample is None:
        return candidates
    return sorted(candidates, key=lambda name: hashlib.sha256(f"{config.sample_seed} {name}".encode()).digest())[
        : config.sample
    ]


def _common(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]
