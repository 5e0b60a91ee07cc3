"""The child's side of a measurement: ``python -m benchmarks.serve MODULE:FUNCTION JOB.json``.

The function gets the job and prepares a piece of work: it loads what it needs, and returns a function that takes
nothing. That is called once for each line on standard input; the reply is one line of JSON with its time, its peak
memory and the facts that it returned. Imports nothing but the standard library, so that it runs where a peer lives.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

Work = Callable[[], dict[str, Any]]

_STATUS = Path("/proc/self/status")


def resident_mib(field: str = "VmRSS") -> float:
    """Resident memory of this process, now (``VmRSS``) or at its highest (``VmHWM``); 0 where the system can't tell."""
    if not _STATUS.exists():
        return 0.0
    kib = next((line.split()[1] for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:")), "0")
    return int(kib) / 1024


def forget_peak() -> None:
    """Let the highest resident memory begin at what is resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then that of the whole life of the process
        return


def measure(work: Work) -> dict[str, Any]:
    """Do the work once. Facts named ``seconds`` take the place of the time of the whole call."""
    gc.collect()
    cuda = accelerator()
    forget_peak()
    if cuda is not None:
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
    before = resident_mib() if cuda is None else cuda.memory_allocated() / 2**20
    started = time.perf_counter()
    facts = work()
    if cuda is not None:
        cuda.synchronize()
    took = time.perf_counter() - started
    peak = resident_mib("VmHWM") if cuda is None else cuda.max_memory_allocated() / 2**20
    return {"seconds": took, "before_mib": before, "peak_mib": peak, **facts}


def accelerator() -> Any:
    """``torch.cuda`` where the work uses it: time then ends with its last operation, and its memory counts."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def serve(prepare: Callable[[dict[str, Any]], Work], job: dict[str, Any], replies: TextIO) -> None:
    """Prepare, say so, and measure once for every line that comes in; an error is a reply too, and the last one."""

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        work = prepare(job)
        reply({"ready": True})
        for _ in sys.stdin:
            reply(measure(work))
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is told in the table
        traceback.print_exc()
        reply({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"})


def main() -> None:
    target, job_file = sys.argv[1:]
    # Libraries print; what they print must not get between the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, function = target.partition(":")
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))

    def prepare(job: dict[str, Any]) -> Work:
        work: Work = getattr(importlib.import_module(module), function)(job)
        return work

    serve(prepare, job, replies)


if __name__ == "__main__":
    main()
