"""What every peer does with the coefficients it got: the top-K by ``|m| * ||v||``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def value_norms(model: Any) -> list[Tensor]:
    """The lengths of all value vectors, layer by layer (of a model built like Llama)."""
    return [layer.mlp.down_proj.weight.float().norm(dim=0) for layer in model.model.layers]


def rank(layers: Sequence[Tensor], norms: Sequence[Tensor], steps: slice, top_k: int) -> tuple[Tensor, Tensor]:
    """Neurons and coefficients ``[T, L, K]`` of one text, from the coefficients ``[S, F]`` of each layer."""
    found = []
    for coefficients, norm in zip(layers, norms, strict=True):
        own = coefficients[steps].float()
        best = (own.abs() * norm).topk(top_k, dim=1).indices
        found.append((best, own.gather(1, best)))
    return torch.stack([best for best, _ in found], dim=1), torch.stack([own for _, own in found], dim=1)


def leave(file: str | None, ranked: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Write the top-K of all texts where the parent will look; the facts are their number of steps."""
    neuron, coefficient = (torch.cat([one[part].cpu() for one in ranked]).numpy() for part in (0, 1))
    if file:
        np.savez(Path(file), neuron=neuron.astype(np.int32), coefficient=coefficient.astype(np.float32))
    return {"steps": len(neuron)}


def read_texts(job: dict[str, Any]) -> list[tuple[Tensor, slice]]:
    """Each text as ids ``[1, S]`` without its last token, which predicts nothing, and the positions of its steps."""
    found = []
    for one in job["completions"]:
        if one["token_ids"]:
            ids = [*one["prompt_ids"], *one["token_ids"]][:-1]
            found.append((torch.tensor([ids], device=job["device"]), slice(len(one["prompt_ids"]) - 1, len(ids))))
    return found
