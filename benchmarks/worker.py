"""The parent's side of a measurement: child processes that wait for their turn."""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.quiet import DISTURBED, Neighbours, wait_for_quiet

ROOT = Path(__file__).parents[1]

#: Nothing that is measured may look for a hub; a peer's own threads are those of torch.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}


class PeerFailedError(Exception):
    """A child could not do its work; the message is one line."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One or several measurements of the same work."""

    seconds: float
    """The median."""
    peak_mib: float
    """The highest resident memory of the process while it worked, model included."""
    extra_mib: float
    """How much of that was not there when the work began."""
    replies: tuple[dict[str, Any], ...]
    """Every single measurement: ``seconds``, ``before_mib``, ``peak_mib``, and what the work returned."""

    @classmethod
    def of(cls, replies: Iterable[dict[str, Any]]) -> Self:
        every = tuple(replies)
        # What others disturbed counts only where there is nothing else.
        counted = [reply for reply in every if reply["others"] <= DISTURBED] or every
        return cls(
            statistics.median(reply["seconds"] for reply in counted),
            max(reply["peak_mib"] for reply in every),
            max(reply["peak_mib"] - reply["before_mib"] for reply in every),
            every,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What the work returned the last time."""
        return self.replies[-1]

    def joined(self, later: Measured) -> Measured:
        """Both together."""
        return Measured.of(self.replies + later.replies)

    def each(self, name: str) -> list[float]:
        """One fact of every measurement that counts."""
        counted = [reply for reply in self.replies if reply["others"] <= DISTURBED] or self.replies
        return [float(reply[name]) for reply in counted]

    @property
    def others(self) -> float:
        """Cores that other processes used meanwhile, in the calmest measurement."""
        return min(float(reply["others"]) for reply in self.replies)


@dataclass
class Worker:
    """A child process that has prepared one piece of work, and does it when asked."""

    target: str
    """``MODULE:FUNCTION``, for `benchmarks.serve`."""
    job: dict[str, Any]
    python: str = sys.executable
    absent: str = ""
    """Why this is not to be measured; empty where it is."""
    limit_s: float = 900
    """A child that doesn't answer for so long is given up."""
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _files: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)
    _log: Path | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="cotlens-bench-")))
        (folder / "job.json").write_text(json.dumps(self.job), encoding="utf-8")
        self._log = folder / "log"
        environment = os.environ | _ENVIRONMENT
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH")])
        )
        self._process = subprocess.Popen(
            [self.python, "-m", "benchmarks.serve", self.target, str(folder / "job.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._files.enter_context(self._log.open("w")),
            text=True,
            cwd=ROOT,
            env=environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process is not None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._files.close()

    def wait(self) -> None:
        """Until the work is prepared."""
        self._receive()

    def measure(self) -> dict[str, Any]:
        """Do the work once.

        Raises:
            PeerFailedError: it failed, or took too long.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        neighbours = Neighbours(self._process.pid)
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except OSError:
            raise PeerFailedError(self._last_words()) from None
        return self._receive() | {"others": neighbours.cores()}

    def _receive(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], self.limit_s)
        if not ready:
            self._process.kill()
            raise PeerFailedError(f"no answer within {self.limit_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailedError(self._last_words())
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerFailedError(str(reply["error"]))
        return reply

    def _last_words(self) -> str:
        assert self._log is not None
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
        return f"the process ended: {said}"


def measure_all(
    workers: Mapping[str, Worker], repetitions: Mapping[str, int], wait_s: float = 0
) -> dict[str, Measured | str]:
    """Measure each worker its number of times, in turns, so that a slow minute of the machine meets all of them.

    All prepare at once, and then one process works at a time. With ``wait_s`` every measurement waits at most so long
    for a quiet machine, and is made once more if it was disturbed all the same. What fails is a text that says why.
    """
    replies: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    failed = {name: worker.absent for name, worker in workers.items() if worker.absent}
    with contextlib.ExitStack() as stack:
        begun = {name: stack.enter_context(worker) for name, worker in workers.items() if name not in failed}
        for name, worker in begun.items():
            try:
                worker.wait()
            except PeerFailedError as error:
                failed[name] = str(error)
                say(f"  {name}: {error}")
        for name in _in_turns(repetitions):
            if name in failed:
                continue
            try:
                replies[name] += _measure(begun[name], wait_s)
                say(f"  {name}: {replies[name][-1]['seconds']:.2f} s")
            except PeerFailedError as error:
                failed[name] = str(error)
                say(f"  {name}: {error}")
    return {name: failed.get(name) or Measured.of(found) for name, found in replies.items()}


def _measure(worker: Worker, wait_s: float) -> list[dict[str, Any]]:
    wait_for_quiet(wait_s)
    found = [worker.measure()]
    if wait_s and found[0]["others"] > DISTURBED:
        wait_for_quiet(wait_s)
        found.append(worker.measure())
    return found


def _in_turns(repetitions: Mapping[str, int]) -> Iterator[str]:
    for turn in range(max(repetitions.values(), default=0)):
        yield from (name for name, times in repetitions.items() if turn < times)


def say(text: str) -> None:
    """Progress, beside the results."""
    if text.strip():
        print(text, file=sys.stderr, flush=True)
