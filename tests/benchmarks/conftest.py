"""A plan whose workers run in this process, on the tiny Llama."""

import functools
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.floors import Bare
from benchmarks.ours import decoding, discovery, draws, generation, projection
from benchmarks.plan import Plan
from benchmarks.serve import measure
from benchmarks.worker import Measured, Worker

from benchmarks import serve
from cotlens import LanguageModel, load_model


class InProcess(Plan):
    """Does what children would do, after a round trip of their jobs through JSON; knows what was asked of them."""

    #: Takes gigabytes for its cache, whatever the model.
    left_out = ("transformers_generate:continuous",)

    def measure(self, workers: Mapping[str, Worker], repetitions: int | Mapping[str, int]) -> dict[str, Measured | str]:
        times = dict.fromkeys(workers, repetitions) if isinstance(repetitions, int) else repetitions
        return {name: self._measured(worker, times[name]) for name, worker in workers.items()}

    def measure_machine(self) -> None:
        """A machine of round figures."""
        self.bare, self.bare_bf16_gflops = Bare(100.0, 30.0), 200.0

    def _measured(self, worker: Worker, times: int) -> Measured | str:
        if worker.absent:
            return worker.absent
        if worker.target.endswith(self.left_out):
            return "left out"
        module, _, function = worker.target.partition(":")
        work = getattr(importlib.import_module(module), function)(json.loads(json.dumps(worker.job)))
        return Measured.of([measure(work) | {"others": 0.0} for _ in range(times)])


@functools.cache
def _loaded(name: str, device: str, dtype: str) -> LanguageModel:
    return load_model(name, device=device, dtype=dtype)


@pytest.fixture
def plan(llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    # A child has little to collect. This process has all that the tests have imported, at each measurement.
    monkeypatch.setattr(serve, "gc", SimpleNamespace(collect=lambda: 0))
    for module in (decoding, discovery, draws, generation, projection):
        monkeypatch.setattr(module, "load_model", _loaded)
    made = InProcess(
        model=str(llama_folder), folder=llama_folder, scratch=tmp_path, questions=3, new_tokens=4,
        shots=1, repetitions=1, batch_sizes=(3, 1),
    )  # fmt: skip
    made.measure_machine()
    return made
