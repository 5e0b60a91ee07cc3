"""TransformerLens: ``run_with_cache`` for discovery, and its ``generate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformer_lens import TransformerBridge

from benchmarks.peers.loading import load, texts
from benchmarks.peers.ranking import leave, rank, read_texts, value_norms


def discover(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Top-K over the completions, text by text; ``everything`` keeps all activations, else ``hook_post`` alone."""
    model, tokenizer = load(job)
    norms = value_norms(model)
    bridge = TransformerBridge.boot_transformers(job["folder"], hf_model=model, tokenizer=tokenizer)
    only = None if job["everything"] else (lambda name: name.endswith("mlp.hook_post"))
    layers = len(norms)

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        ranked = []
        for ids, steps in read_texts(job):
            _, cache = bridge.run_with_cache(ids, names_filter=only)
            posts = [cache[f"blocks.{layer}.mlp.hook_post"][0] for layer in range(layers)]
            ranked.append(rank(posts, norms, steps, job["top_k"]))
            del cache, posts
        return leave(job.get("arrays"), ranked)

    bridge.run_with_cache(read_texts(job)[0][0][:, :2], names_filter=only)
    return work


def generate(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Its ``generate`` with a cache, greedily, ``batch_size`` prompts at a time."""
    model, tokenizer = load(job)
    bridge = TransformerBridge.boot_transformers(job["folder"], hf_model=model, tokenizer=tokenizer)
    size = int(job["batch_size"])

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        rows: list[list[int]] = []
        for start in range(0, len(job["prompts"]), size):
            batch = tokenizer(job["prompts"][start : start + size], return_tensors="pt", padding=True)
            batch = batch.to(model.device)
            out = bridge.generate(
                batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=job["max_new_tokens"],
                do_sample=False,
                return_type="tokens",
                verbose=False,
            )
            rows += out[:, batch["input_ids"].shape[1] :].tolist()
        return texts(model, tokenizer, rows)

    return work
