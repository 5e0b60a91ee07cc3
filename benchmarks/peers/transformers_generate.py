"""`transformers`: ``generate`` on padded batches, and continuous batching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig

from benchmarks.peers.loading import load, texts


def batched(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """``generate``, greedily, ``batch_size`` prompts at a time, sorted by length so that little is padded.

    A ``stop`` in the job is given as ``stop_strings``; the texts end before it.
    """
    stop = list(job.get("stop", ()))
    model, tokenizer = load(job)
    ending = {"stop_strings": stop, "tokenizer": tokenizer} if stop else {}
    size = int(job["batch_size"])
    order = sorted(range(len(job["prompts"])), key=lambda place: -len(job["prompts"][place]))

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        rows: dict[int, list[int]] = {}
        for start in range(0, len(order), size):
            places = order[start : start + size]
            batch = tokenizer([job["prompts"][place] for place in places], return_tensors="pt", padding=True)
            batch = batch.to(model.device)
            out = model.generate(**batch, max_new_tokens=job["max_new_tokens"], do_sample=False, **ending)
            generated = out[:, batch["input_ids"].shape[1] :].tolist()
            rows.update(zip(places, generated, strict=True))
        return texts(model, tokenizer, [rows[place] for place in range(len(order))], stop)

    batch = tokenizer(job["prompts"][:1], return_tensors="pt").to(model.device)
    model.generate(**batch, max_new_tokens=2, do_sample=False)
    return work


def continuous(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """``generate_batch``: paged cache, requests join and leave the batch, blocks of a common beginning shared."""
    model, tokenizer = load(job)
    stops = model.generation_config.eos_token_id
    config = GenerationConfig(
        max_new_tokens=job["max_new_tokens"], do_sample=False, eos_token_id=stops, pad_token_id=tokenizer.pad_token_id
    )
    inputs = [tokenizer(prompt)["input_ids"] for prompt in job["prompts"]]

    def work() -> dict[str, Any]:
        done = model.generate_batch(inputs, generation_config=config, warmup=False)
        found = {tuple(one.prompt_ids): one.generated_tokens for one in done.values()}
        return texts(model, tokenizer, [found[tuple(ids)] for ids in inputs])

    return work
