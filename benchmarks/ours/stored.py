"""A run directory that holds given completions, as if its first stage had just ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from cotlens import RunConfig
from cotlens.store import RunWriter


def store_completions(folder: Path, completions: list[dict[str, Any]], model: str) -> RunConfig:
    """Write ``completions`` in parts of the usual size; the configuration of the run that holds them."""
    config = RunConfig.model_validate(
        {"model": {"name": model}, "prompt": {"variants": ["cot"]}, "intervene": {"variant": "cot"}}
    )
    size = config.generate.part_size
    with RunWriter.open(folder, config) as run:
        run.begin("generate", "given")
        for start in range(0, len(completions), size):
            run.add_frame("generate", f"completions/cot-{start // size:04d}.parquet", _frame(completions, start, size))
        run.finish("generate", 0.0)
    return config


def _frame(completions: list[dict[str, Any]], start: int, size: int) -> pl.DataFrame:
    part = completions[start : start + size]
    return pl.DataFrame(
        {
            "variant": ["cot"] * len(part),
            "question_id": [f"q{start + place}" for place in range(len(part))],
            "prompt_length": [len(one["prompt_ids"]) for one in part],
            "token_ids": [[*one["prompt_ids"], *one["token_ids"]] for one in part],
            "text": [one["text"] for one in part],
        }
    )
