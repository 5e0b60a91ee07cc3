"""B6: how long the command line takes to answer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.plan import Plan
from benchmarks.rows import Row
from benchmarks.worker import say

NAME = "B6"
HELP_S = 0.3
SHOW_S = 1.0
REPETITIONS = 7


def run(plan: Plan) -> Iterator[Row]:
    python = _seconds([sys.executable, "-c", "pass"])
    for words, goal in ((["--help"], HELP_S), (["show", str(finished_run(plan))], SHOW_S)):
        seconds = _seconds([sys.executable, "-m", "cotlens.cli", *words])
        # A goal in seconds: the share of it that was taken.
        yield Row(NAME, f"cotlens {words[0]}", seconds, "what is allowed", goal, "s", 1.0, "share",
                  note=f"median of {REPETITIONS}; an empty Python program takes {python:.2f} s")  # fmt: skip


def finished_run(plan: Plan) -> Path:
    """A small run with every stage done, made by a child, so that this process stays small."""
    folder = plan.scratch / "finished"
    say("a small finished run, for cotlens show")
    plan.measure_one(plan.ours("finished:prepare", out=str(folder), short=plan.short))
    return folder


def _seconds(command: list[str]) -> float:
    """The median, after one that fills the file cache."""
    taken = []
    for _ in range(REPETITIONS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])
