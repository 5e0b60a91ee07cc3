"""The stage ``discover`` over stored completions; with its hooks, and without them."""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.ours.stored import store_completions
from cotlens import load_model, open_run
from cotlens.capture import LensRecorder, Passage, Reader, open_reader
from cotlens.discover import discover_stage
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import Encoding, Prefix, Prefixes
from cotlens.store import RunWriter
from cotlens.types import Silent, TopNeurons


class _Timed:
    """A reader whose forward passes are timed."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.seconds = 0.0

    def read(self, prefix: Prefix, passages: Sequence[Passage]) -> TopNeurons:
        started = time.perf_counter()
        try:
            return self._reader.read(prefix, passages)
        finally:
            self.seconds += time.perf_counter() - started

    def read_alone(self, passage: Passage) -> TopNeurons:
        return self._reader.read_alone(passage)


class _NoHooks:
    """The same forward passes, and nothing looked at on the way."""

    def __init__(self, lm: LanguageModel, top_k: int) -> None:
        self._lm = lm
        self._top_k = top_k

    def read(self, prefix: Prefix, passages: Sequence[Passage]) -> TopNeurons:
        suffixes = [passage.token_ids[prefix.length : -1] for passage in passages]
        Encoding(self._lm, Prefixes.ready(self._lm, prefix), suffixes, [0] * len(suffixes)).run()
        shape = (sum(passage.steps for passage in passages), self._lm.n_layers, self._top_k)
        nothing = np.zeros(shape, dtype=np.float32)
        return TopNeurons(nothing.astype(np.int32), nothing, nothing)

    def read_alone(self, passage: Passage) -> TopNeurons:
        raise NotImplementedError("a run's completions are read together")


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Run the stage over ``completions``; ``hooks`` says whether neurons are captured.

    The facts are ``reading_s``, the time of the forward passes over completions; ``steps``; and where ``arrays`` names
    a file, the neurons and coefficients are left in it, as `benchmarks.agreement` reads them.
    """
    lm = load_model(job["model"], device=job["device"], dtype=job["dtype"])
    given = [one for one in job["completions"] if one["token_ids"]]
    base = Path(tempfile.mkdtemp(prefix="runs-", dir=job["scratch"]))
    numbers = itertools.count()
    # Loading maps the weights without reading them; the first measurement is not to pay for that.
    _run_stage(lm, base / "warm", given[:1], job)

    def work() -> dict[str, Any]:
        folder = base / str(next(numbers))
        facts = _run_stage(lm, folder, given, job)
        if job.get("arrays"):
            _leave_arrays(folder, lm.n_layers, Path(job["arrays"]))
        return facts

    return work


def _run_stage(
    lm: LanguageModel, folder: Path, completions: list[dict[str, Any]], job: dict[str, Any]
) -> dict[str, Any]:
    config = store_completions(folder, completions, job["model"])
    with RunWriter.open(folder, config) as run, _readers(job["hooks"]) as made:
        run.begin("discover", "measured")
        started = time.perf_counter()
        discover_stage(run, lm, Silent())
        seconds = time.perf_counter() - started
        run.finish("discover", seconds)
    return {
        "seconds": seconds,
        "reading_s": sum(reader.seconds for reader in made),
        "steps": sum(len(one["token_ids"]) for one in completions),
    }


@contextlib.contextmanager
def _readers(hooks: bool) -> Iterator[list[_Timed]]:
    """Let the stage read through timed readers."""
    made: list[_Timed] = []

    @contextlib.contextmanager
    def timed_reader(lm: LanguageModel, top_k: int, ranker: str, lens: LensRecorder | None) -> Iterator[Reader]:
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(open_reader(lm, top_k, ranker, lens)) if hooks else _NoHooks(lm, top_k)
            made.append(_Timed(reader))
            yield made[-1]

    with mock.patch.object(sys.modules["cotlens.discover"], "open_reader", timed_reader):
        yield made


def _leave_arrays(folder: Path, layers: int, file: Path) -> None:
    found = open_run(folder).activations()
    shape = (found.height // layers, layers, -1)
    np.savez(
        file,
        neuron=np.array(found["neuron"].to_list(), dtype=np.int32).reshape(shape),
        coefficient=np.array(found["coefficient"].to_list(), dtype=np.float32).reshape(shape),
    )
