"""nnsight: a trace that saves the input of every down projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import torch
from nnsight import TransformersModel

from benchmarks.peers.loading import load
from benchmarks.peers.ranking import leave, rank, read_texts, value_norms


def discover(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Top-K over the completions, text by text."""
    model, tokenizer = load(job)
    norms = value_norms(model)
    traced = TransformersModel(model, tokenizer=tokenizer, task="text-generation")

    def coefficients(ids: torch.Tensor) -> list[torch.Tensor]:
        with torch.inference_mode(), traced.trace(ids):
            saved = nnsight.save([])
            for layer in traced.model.layers:
                saved.append(layer.mlp.down_proj.input)
        return [one[0] for one in saved]

    def work() -> dict[str, Any]:
        ranked = [rank(coefficients(ids), norms, steps, job["top_k"]) for ids, steps in read_texts(job)]
        return leave(job.get("arrays"), ranked)

    coefficients(read_texts(job)[0][0][:, :2])
    return work
