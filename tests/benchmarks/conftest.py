"""A plan whose workers run in this process, on the tiny Llama."""

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.floors import Bare
from benchmarks.plan import Plan
from benchmarks.serve import measure
from benchmarks.worker import Measured, Worker


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


@pytest.fixture
def plan(llama_folder: Path, tmp_path: Path) -> Plan:
    return InProcess(
        model=str(llama_folder), folder=llama_folder, scratch=tmp_path, questions=3, new_tokens=4,
        repetitions=2, batch_sizes=(3, 1),
    )  # fmt: skip
