"""How much else runs on the machine while something is measured, and waiting until it is little."""

from __future__ import annotations

import time

import psutil

#: Processor cores that others may use before a measurement counts as disturbed.
DISTURBED = 0.15


class Neighbours:
    """Counts the processor time of all processes but one and its children, from now on."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid
        self._started = time.perf_counter()
        self._busy, self._own = _busy_s(), _own_s(pid)

    def cores(self) -> float:
        """Cores that the others kept busy since this began, on average; time that the hypervisor took is counted."""
        wall = time.perf_counter() - self._started
        others = _busy_s() - self._busy - (_own_s(self._pid) - self._own)
        return max(0.0, others / wall) if wall > 0 else 0.0


def wait_for_quiet(limit_s: float, look_s: float = 1.0) -> None:
    """Until others leave the processor alone for ``look_s`` seconds, or ``limit_s`` seconds have gone by."""
    end = time.perf_counter() + limit_s
    while time.perf_counter() < end:
        neighbours = Neighbours()
        time.sleep(look_s)
        if neighbours.cores() <= DISTURBED:
            return


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)  # guest is within user
    return float(sum(times) - idle - getattr(times, "guest_nice", 0.0))


def _own_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:4]))  # user and system, its own and that of ended children
    except psutil.Error:
        return 0.0
