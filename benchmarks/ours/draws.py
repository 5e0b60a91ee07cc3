"""Generation under noise on random neurons: all draws in one call of the engine, or one call for each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cotlens import LanguageModel, Noise, generate, load_model

#: Neurons of one draw, as many as the default study labels.
NEURONS = 74


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """``draws`` sets of neurons, each with noise of its own, on every prompt; ``together`` in one call or not, and then
    ``each_s`` are the seconds of each call."""
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    draws = [(noise(lm, draw),) for draw in range(job["draws"])]
    prompts, count = job["prompts"], len(job["prompts"])

    def run(some: list[tuple[Noise]]) -> list[str]:
        each = [edits for edits in some for _ in range(count)]
        found = generate(lm, prompts * len(some), job["max_new_tokens"], stop=(), interventions=each)
        return [completion.text for completion in found]

    def work() -> dict[str, Any]:
        texts, each_s = [], []
        for some in [draws] if job["together"] else [[draw] for draw in draws]:
            started = time.perf_counter()
            texts += run(some)
            each_s.append(time.perf_counter() - started)
        return {"texts": texts, "each_s": each_s}

    generate(lm, prompts[:1], max_new_tokens=2, stop=())
    return work


def noise(lm: LanguageModel, draw: int) -> Noise:
    """Noise on as many random neurons of the whole model."""
    every = [(ffn.layer, index) for ffn in lm.ffn for index in range(ffn.width)]
    chosen = np.random.default_rng(draw).choice(len(every), min(NEURONS, len(every)), False)
    return Noise([every[place] for place in chosen], sigma=1.0, seed=draw)
