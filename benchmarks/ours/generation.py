"""Generation by `cotlens.generate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.ours.phases import timed_phases
from cotlens import generate, load_model


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Continue all prompts; ``batch_size`` is ours to choose unless the job says it. ``phases`` are seconds of each.

    Without ``stop`` in the job no text ends a completion, so that every tool writes the same number of tokens.
    """
    stop = tuple(job.get("stop", ()))
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    generate(lm, job["prompts"][:2], max_new_tokens=2, stop=())

    def work() -> dict[str, Any]:
        with timed_phases() as phases:
            done = generate(
                lm, job["prompts"], max_new_tokens=job["max_new_tokens"], stop=stop, batch_size=job.get("batch_size")
            )
        return {
            "phases": phases.seconds,
            "completions": [
                {"prompt_ids": list(one.prompt_ids), "token_ids": list(one.token_ids), "text": one.text} for one in done
            ],
        }

    return work


def prepare_profiled(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The same under torch's profiler; the facts are each operator's own seconds and its calls."""
    plain = prepare(job)

    def work() -> dict[str, Any]:
        started = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            plain()
            seconds = time.perf_counter() - started
        own = {one.key: (one.self_cpu_time_total / 1e6, one.count) for one in found.key_averages()}
        return {"seconds": seconds, "operators": own}

    return work
