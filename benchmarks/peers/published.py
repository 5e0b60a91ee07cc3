"""The cost of the published Algorithm One: every token by a forward pass over the whole text, without a cache.

What makes it slow is kept: no cache, all outputs of the model, hooks that keep every coefficient of every position, a
loop over layers, one JSON file per token. What was merely wrong in it (hooks that pile up, text past the end) is left
out, so a token here costs no more than there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.loading import load
from benchmarks.peers.ranking import value_norms


def discover(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Generate ``tokens`` tokens after the first prompt; the facts are the tokens, and the seconds for one of them."""
    model, _ = load(job)
    norms = value_norms(model)
    prompt = job["completions"][0]["prompt_ids"]
    kept: dict[int, torch.Tensor] = {}

    def keep(number: int) -> Callable[..., None]:
        return lambda _, inputs: kept.__setitem__(number, inputs[0].detach().clone())

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        ids = list(prompt)
        with tempfile.TemporaryDirectory() as folder:
            for step in range(job["tokens"]):
                out = model(
                    torch.tensor([ids], device=model.device),
                    use_cache=False,
                    output_hidden_states=True,
                    output_attentions=False,
                )
                _write(Path(folder) / f"{step}.json", kept, norms, job["top_k"])
                ids.append(int(out.logits[0, -1].argmax()))
        return {"token_ids": ids[len(prompt) :]}

    for number, layer in enumerate(model.model.layers):
        layer.mlp.down_proj.register_forward_pre_hook(keep(number))
    model(torch.tensor([prompt[:2]], device=model.device))
    return work


def _write(file: Path, kept: dict[int, torch.Tensor], norms: list[torch.Tensor], top_k: int) -> None:
    found = {}
    for number, coefficients in kept.items():
        score = coefficients[0, -1].abs() * norms[number]
        best = score.topk(top_k)
        found[number] = {"neurons": best.indices.tolist(), "scores": best.values.tolist()}
    file.write_text(json.dumps(found))
