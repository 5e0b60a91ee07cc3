"""Token-by-token decoding by the plain model, with the top-K captured at every step or without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from cotlens import LanguageModel, load_model
from cotlens.capture import capture_top_neurons


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Decode ``tokens`` tokens after all prompts at once, cut to the shortest, so that nothing is padded."""
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    encoded = [lm.encode(prompt) for prompt in job["prompts"]]
    length = min(map(len, encoded))
    ids = torch.tensor([one[-length:] for one in encoded], device=lm.device)
    _decode(lm, ids, 2, job["hooks"])
    return lambda: _decode(lm, ids, job["tokens"], job["hooks"])


@torch.inference_mode()
def _decode(lm: LanguageModel, ids: torch.Tensor, tokens: int, hooks: bool) -> dict[str, Any]:
    steps = 0
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(capture_top_neurons(lm, min(20, lm.d_ff))) if hooks else None
        cache = DynamicCache(config=lm.model.config)
        out = lm.model(ids, past_key_values=cache, logits_to_keep=1)
        for _ in range(tokens):
            last = out.logits[:, -1].argmax(dim=-1)
            if recorder is not None:
                recorder.positions = torch.arange(len(ids), device=lm.device)
            out = lm.model(last[:, None], past_key_values=cache, logits_to_keep=1)
            if recorder is not None:
                steps += recorder.take().steps
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)
    return {"steps": steps}
