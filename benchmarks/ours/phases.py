"""How long the engine takes for each phase of its work: the shared prefix, the questions, and decoding."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from cotlens.model.shared_prefix import RowBatch

PREFIX, QUESTIONS, DECODING, REST = "prefix", "questions", "decoding", "rest"


class Phases:
    """Seconds of each phase; ``rest`` is outside the model: the choice of tokens, ends of texts, ordering weights."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((PREFIX, QUESTIONS, DECODING, REST), 0.0)

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose time is added to ``phase``."""

        def call(*given: Any) -> Any:
            started = time.perf_counter()
            found = function(*given)
            _wait()
            self.seconds[phase] += time.perf_counter() - started
            return found

        return call


@contextlib.contextmanager
def timed_phases() -> Iterator[Phases]:
    """The phases of all that the engine does in the block; complete when the block has ended."""
    phases = Phases()
    prefixes = sys.modules["cotlens.model.prefix"]
    replaced = [
        (prefixes, "compute_prefix", phases.timed(PREFIX, prefixes.compute_prefix)),
        (RowBatch, "begin", phases.timed(QUESTIONS, RowBatch.begin)),
        (RowBatch, "append", phases.timed(DECODING, RowBatch.append)),
    ]
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        for owner, name, function in replaced:
            stack.enter_context(mock.patch.object(owner, name, function))
        yield phases
    seconds = phases.seconds
    seconds[QUESTIONS] -= seconds[PREFIX]  # a prefix is computed when the first row asks for it
    seconds[REST] = time.perf_counter() - started - sum(seconds.values())


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
