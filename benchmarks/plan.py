"""What a run of the benchmarks measures: the model, the prompts, how many and how often."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.floors import Bare, Decoder
from benchmarks.ours.synthetic_tables import Sizes
from benchmarks.worker import ROOT, Measured, PeerFailedError, Worker, measure_all, say
from cotlens import build_prompt, load_problems
from cotlens.types import Problem

#: A file of GSM8K problems to use instead of the bundled ones.
PROBLEMS = "COTLENS_GSM8K"
#: The environment with the peers, where `make bench` puts it.
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


@dataclass
class Plan:
    """One run of the benchmarks, and what its parts share."""

    model: str
    """Name or folder of the model, for `cotlens.load_model`."""
    folder: Path
    """The same model as a Hugging Face checkpoint, for the peers."""
    scratch: Path
    """For files that workers leave to each other."""
    device: str = "cpu"
    """Where models run, and where the bare figures are taken."""
    short: bool = False
    peers_python: str | None = None
    """The interpreter that has the peers; None leaves them out, but not those that are plain transformers."""
    questions: int = 24
    new_tokens: int = 150
    shots: int = 8
    """Demonstrations in a prompt."""
    layers: int | None = None
    """B3 projects the neurons of so many layers; None for all."""
    repetitions: int = 3
    """Of what is ours, and of the peer that it has to beat."""
    batch_sizes: tuple[int, ...] = (24, 8, 1)
    """That `transformers` is tried with; the best is the peer."""
    explored: Sizes = field(default_factory=Sizes)
    """Of the run that B7 writes for the explorer."""
    bare: Bare = field(default_factory=lambda: Bare(0.0, 0.0))
    bare_bf16_gflops: float = 0.0
    accelerator: str = ""
    """The name of what ``device`` is, unless that is the processor."""
    wait_s: float = 0
    """Each measurement waits at most so long for other processes to leave the processor alone."""
    completions: list[dict[str, Any]] | None = None
    """Of `questions` prompts, once they are there: ``prompt_ids``, ``token_ids`` and ``text``."""
    generation_s: float | None = None
    """What generating those took us (the median, if B1 measured it)."""
    discovery: Measured | None = None
    """The stage ``discover`` over those, if B2 measured it."""

    @property
    def decoder(self) -> Decoder:
        return Decoder.read(self.folder)

    @property
    def problems(self) -> str:
        """``mini``, or the file that the environment names."""
        return os.environ.get(PROBLEMS) or "mini"

    @property
    def asked(self) -> str:
        """What a row says of the questions."""
        named = "mini" if self.problems == "mini" else f"GSM8K ({Path(self.problems).name})"
        return f"{self.questions} questions of {named}"

    def prompts(self, count: int | None = None) -> list[str]:
        wanted = self.questions if count is None else count
        problems = _all_problems(self.problems)[:wanted]
        if len(problems) < wanted:
            raise SystemExit(f"{self.problems} has {len(problems)} problems; {wanted} are needed")
        return [build_prompt("cot", problem.question, self.shots) for problem in problems]

    def job(self, **more: Any) -> dict[str, Any]:
        """What every worker gets, and ``more``."""
        return {"model": self.model, "folder": str(self.folder), "dtype": "float32", "device": self.device, **more}

    def generation_job(self, **more: Any) -> dict[str, Any]:
        return self.job(prompts=self.prompts(), max_new_tokens=self.new_tokens, **more)

    def ours(self, target: str, **job: Any) -> Worker:
        """A worker of our own interpreter, for ``benchmarks.ours.TARGET``."""
        return Worker(f"benchmarks.ours.{target}", self.job(**job))

    def slow_worker(self, target: str, **job: Any) -> Worker:
        """As `ours`, for what takes minutes."""
        return Worker(f"benchmarks.ours.{target}", self.job(**job), limit_s=3600)

    def peer(self, target: str, slow: bool = False, **job: Any) -> Worker:
        """A worker for ``benchmarks.peers.TARGET`` that needs nothing but transformers."""
        return Worker(f"benchmarks.peers.{target}", self.job(**job), absent=self._left_out(slow))

    def foreign(self, target: str, slow: bool = False, **job: Any) -> Worker:
        """The same in the peers' environment; where there is none, its row says so."""
        absent = self._left_out(slow) if self.peers_python else "no environment with the peers"
        return Worker(f"benchmarks.peers.{target}", self.job(**job), self.peers_python or sys.executable, absent=absent)

    def _left_out(self, slow: bool) -> str:
        return "left out of the short mode" if slow and self.short else ""

    def measure(self, workers: Mapping[str, Worker], repetitions: int | Mapping[str, int]) -> dict[str, Measured | str]:
        """As `benchmarks.worker.measure_all`."""
        times = dict.fromkeys(workers, repetitions) if isinstance(repetitions, int) else repetitions
        return measure_all(workers, times, self.wait_s)

    def measure_one(self, worker: Worker, repetitions: int = 1) -> Measured:
        """The only one.

        Raises:
            PeerFailedError: it failed.
        """
        (found,) = self.measure({worker.target: worker}, repetitions).values()
        if isinstance(found, str):
            raise PeerFailedError(f"{worker.target}: {found}")
        return found

    def measure_machine(self) -> None:
        if self.short and self.bare.gflops:
            return
        say("bare figures of this machine")
        found = self.measure_one(Worker("benchmarks.machine:prepare", {"device": self.device})).facts
        # The best of all tries: what else runs on the machine makes it slower, nothing makes it faster.
        self.bare = Bare(max(self.bare.gflops, found["fp32_gflops"]), max(self.bare.copy_gb_s, found["copy_gb_s"]))
        self.bare_bf16_gflops = max(self.bare_bf16_gflops, found["bf16_gflops"])
        self.accelerator = found["accelerator"]

    def need_completions(self) -> list[dict[str, Any]]:
        """The completions of B1, generated now where B1 has not run."""
        if self.completions is None:
            say("completions, for what follows")
            self.keep_completions(self.measure_one(self.ours("generation:prepare", **self.generation_job())))
        assert self.completions is not None
        return self.completions

    def keep_completions(self, measured: Measured) -> None:
        self.completions = measured.facts["completions"]
        self.generation_s = measured.seconds

    def shared_length(self) -> int:
        """Tokens that all prompts begin with."""
        return shared_length([one["prompt_ids"] for one in self.need_completions()])

    def suffix_lengths(self) -> list[int]:
        """Tokens of each prompt after those."""
        shared = self.shared_length()
        return [len(one["prompt_ids"]) - shared for one in self.need_completions()]

    def read_lengths(self) -> list[int]:
        """Tokens after those that discovery reads of each completion: all but the last, which predicts nothing."""
        own = zip(self.suffix_lengths(), self.need_completions(), strict=True)
        return [length + len(one["token_ids"]) - 1 for length, one in own]


@functools.cache
def _all_problems(source: str) -> list[Problem]:
    return load_problems(source)


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """How many items all rows begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))


def shorten(plan: Plan) -> Plan:
    """The same with little of everything: under three minutes on two cores."""
    plan.short, plan.questions, plan.new_tokens, plan.shots, plan.layers = True, 4, 16, 2, 1
    plan.repetitions, plan.batch_sizes = 1, (4,)
    plan.explored = Sizes(rows=20_000, layers=8, width=1000)
    return plan
