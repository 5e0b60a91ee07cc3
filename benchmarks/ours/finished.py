"""A small run with every stage done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotlens import RunConfig, run_pipeline


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The whole pipeline on few problems, into the folder ``out``."""
    few = bool(job["short"])
    config = RunConfig.model_validate(
        {
            "model": {"name": job["model"], "device": job["device"]},
            "problems": {"limit": 2 if few else 8},
            "prompt": {"variants": ["cot", "equation_only"], "shots": 1 if few else 8},
            "generate": {"max_new_tokens": 8 if few else 60},
            "discover": {"top_k": 5 if few else 20},
            "intervene": {"draws": 1, "control_draws": 1, "specificity": not few},
        }
    )

    def work() -> dict[str, Any]:
        return {"stages": list(run_pipeline(config, Path(job["out"])).manifest.stages)}

    return work
