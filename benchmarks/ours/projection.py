"""The projection of every neuron, and the bare matrix product that it can't do without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cotlens import LanguageModel, load_model, project

#: Rows of one product, as many as there are logits at once in `project`.
BLOCK = 512


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """`cotlens.project` over the neurons of the last ``layers`` layers; all when that is None.

    Where ``arrays`` names a file, the ids and logits of both ends are left in it.
    """
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    _touch(lm)
    wanted = _neurons(lm, job["layers"])
    project(lm, wanted[:: max(1, len(wanted) // 64)])

    def work() -> dict[str, Any]:
        found = project(lm, wanted)
        if job.get("arrays"):
            np.savez(
                Path(job["arrays"]),
                promoted=found.promoted_ids,
                suppressed=found.suppressed_ids,
                promoted_logits=found.promoted_logits,
                suppressed_logits=found.suppressed_logits,
            )
        return {"neurons": len(found.layer), "width": lm.d_model, "vocabulary": len(lm.unembedding)}

    return work


def prepare_bare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The logits of the same neurons in the model's own precision, block by block into the same memory."""
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    _touch(lm)
    layers = lm.ffn[-(job["layers"] or lm.n_layers) :]
    values = torch.cat([ffn.value_vectors for ffn in layers]).contiguous()
    unembedding = lm.unembedding
    out = torch.empty(BLOCK, len(unembedding), dtype=lm.dtype, device=lm.device)

    def work() -> dict[str, Any]:
        for block in values.split(BLOCK):
            torch.mm(block, unembedding.T, out=out[: len(block)])
        return {"neurons": len(values)}

    torch.mm(values[:BLOCK], unembedding.T, out=out[: len(values[:BLOCK])])
    return work


def _touch(lm: LanguageModel) -> None:
    """Read every weight once: they are mapped from the file, and a first read while working counts as its memory."""
    for weights in lm.model.parameters():
        weights.sum()


def _neurons(lm: LanguageModel, layers: int | None) -> list[tuple[int, int]]:
    return [(ffn.layer, index) for ffn in lm.ffn[-(layers or lm.n_layers) :] for index in range(ffn.width)]
