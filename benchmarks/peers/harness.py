"""lm-evaluation-harness: ``generate_until`` of its `transformers` backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from benchmarks.peers.loading import load


def generate(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """All prompts as requests of a task without stop texts, ``batch_size`` at a time."""
    model, tokenizer = load(job)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=int(job["batch_size"]), device=job["device"])
    settings = {"until": [], "max_gen_toks": job["max_new_tokens"], "do_sample": False}
    # Equal requests are answered once, so each says which it is.
    requests = [
        Instance("generate_until", {"id": place}, (prompt, settings), place)
        for place, prompt in enumerate(job["prompts"])
    ]

    def work() -> dict[str, Any]:
        return {"texts": harness.generate_until(requests, disable_tqdm=True)}

    return work
