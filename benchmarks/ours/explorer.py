"""The explorer on a run: making its index, and a server that is asked for its pages."""

from __future__ import annotations

import contextlib
import os
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cotlens import open_run
from cotlens.explorer import ActivityIndex

#: How long a server may take until it listens; the index is there already.
_START_S = 300
#: After the server listens it reads tables in the background, which a reader doesn't wait for.
_SETTLE_S = 300


def prepare_index(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The index of the run ``run``, made in the empty cache ``cache``."""
    os.environ["COTLENS_CACHE"] = job["cache"]
    run = open_run(job["run"])

    def work() -> dict[str, Any]:
        started = time.process_time()
        ActivityIndex.open(run)
        written = [file.stat().st_size for file in Path(job["cache"]).rglob("*") if file.is_file()]
        return {"processor_s": time.process_time() - started, "index_bytes": sum(written)}

    return work


def prepare_queries(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """What the pages ask the index, without a server: milliseconds, each the median of ``times``."""
    os.environ["COTLENS_CACHE"] = job["cache"]
    index = ActivityIndex.open(open_run(job["run"]))
    variants, layer, neuron = index.variants, job["neuron"][0], job["neuron"][1]
    variant, question, _ = index.completions.row(index.completions.height // 2)
    queries: dict[str, Callable[[], object]] = {
        "summary of a neuron": lambda: index.summary(layer, neuron),
        "contexts of a neuron": lambda: index.contexts(layer, neuron),
        "steps of a completion": lambda: index.steps(variant, question),
        "neurons of two variants": lambda: index.shared(variants[0], variants[-1]),
    }
    return lambda: {"ms": {name: _medians(query, job["times"]) for name, query in queries.items()}}


def prepare_pages(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """``cotlens view RUN`` in a process of its own, asked for each of ``addresses`` ``times`` times after a first."""

    def work() -> dict[str, Any]:
        started = time.perf_counter()
        with _server(job["run"], job["cache"]) as (process, port):
            ready_s = time.perf_counter() - started
            _settle(process)
            with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                ms = {
                    address: _medians(lambda a=address: _get(connection, a), job["times"])
                    for address in job["addresses"]
                }
            return {"ms": ms, "ready_s": ready_s, "server_mib": _peak_mib(process)}

    return work


def _medians(ask: Callable[[], object], times: int) -> list[float]:
    """Milliseconds: the first time, and the median of those that follow."""
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - started))
    return [taken[0], statistics.median(taken[1:])]


@contextlib.contextmanager
def _server(run: str, cache: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and its port, once it says its address."""
    command = [sys.executable, "-m", "cotlens.cli", "view", run, "--no-open"]
    environment = os.environ | {"COTLENS_CACHE": cache}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield process, _port(process)
    finally:
        process.terminate()
        process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    said: list[str] = []
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        ready, _, _ = select.select([process.stdout], [], [], 1)
        line = process.stdout.readline() if ready else ""
        said += [line.strip()] if line.strip() else []
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found[1])
        if ready and not line:
            break
    raise RuntimeError(f"the server did not start: {said[-1] if said else 'without a word'}")


def _settle(process: subprocess.Popen[str]) -> None:
    """Until the server has been idle for a second: what it reads in advance is read."""
    import psutil

    server = psutil.Process(process.pid)
    end = time.monotonic() + _SETTLE_S
    while time.monotonic() < end:
        before = sum(server.cpu_times()[:2])
        time.sleep(1)
        if sum(server.cpu_times()[:2]) - before < 0.02:
            return


def _get(connection: HTTPConnection, address: str) -> None:
    connection.request("GET", address)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{address}: status {answer.status}")


def _peak_mib(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status")
    lines: Sequence[str] = status.read_text().splitlines() if status.exists() else ()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
