"""Plain forward hooks that keep every coefficient of every text, ranked when all are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.loading import load
from benchmarks.peers.ranking import leave, rank, read_texts, value_norms


def discover(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Top-K over the completions, text by text, by `transformers` alone."""
    model, _ = load(job)
    norms = value_norms(model)
    read = read_texts(job)

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        kept: list[list[torch.Tensor]] = []
        hooks = [
            layer.mlp.down_proj.register_forward_pre_hook(lambda _, inputs: kept[-1].append(inputs[0][0]))
            for layer in model.model.layers
        ]
        try:
            for ids, _ in read:
                kept.append([])
                model(ids, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        ranked = [rank(layers, norms, steps, job["top_k"]) for layers, (_, steps) in zip(kept, read, strict=True)]
        return leave(job.get("arrays"), ranked)

    model(read[0][0][:, :2])
    return work
