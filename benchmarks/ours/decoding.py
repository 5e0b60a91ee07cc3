"""Decoding by the engine, with the top-K captured for every token that it writes or without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.ours.phases import DECODING, timed_phases
from cotlens import LanguageModel, generate, load_model
from cotlens.capture import capture_top_neurons
from cotlens.types import TopNeurons


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Continue all prompts; with ``hooks`` the top-20 of every layer is captured at each token.

    The facts are the seconds of decoding alone, and for how many tokens neurons were captured.
    """
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    encoded = [lm.encode(prompt) for prompt in job["prompts"]]

    def work(tokens: int = job["max_new_tokens"]) -> dict[str, Any]:
        with captured(lm) if job["hooks"] else contextlib.nullcontext([]) as found, timed_phases() as phases:
            generate(lm, encoded, tokens, stop=(), batch_size=len(encoded))
        return {"seconds": phases.seconds[DECODING], "captured": sum(top.steps for top in found)}

    work(2)
    return work


@contextlib.contextmanager
def captured(lm: LanguageModel) -> Iterator[Sequence[TopNeurons]]:
    """What predicted each token, forward pass by forward pass, rows in the engine's order."""
    found: list[TopNeurons] = []
    with capture_top_neurons(lm, min(20, lm.d_ff)) as recorder, contextlib.ExitStack() as stack:

        def before(_: Any, __: Any, given: dict[str, Any]) -> None:
            recorder.positions = given["logits_to_keep"]

        def after(*_: Any) -> None:
            found.append(recorder.take())
            recorder.positions = None

        stack.callback(lm.model.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(lm.model.register_forward_hook(after).remove)
        yield found
