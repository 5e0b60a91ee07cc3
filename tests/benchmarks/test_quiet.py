"""What else the machine does."""

import time

import benchmarks.quiet as quiet
import pytest


class Machine:
    """Clocks that stand still unless told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.busy = self.own = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(quiet, "_busy_s", lambda: self.busy)
        monkeypatch.setattr(quiet, "_own_s", lambda pid: self.own if pid else 0.0)
        self.load = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.busy += seconds * self.load
        self.load = max(0.0, self.load - 0.5)


def test_the_measured_process_is_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    neighbours = quiet.Neighbours(pid=1)
    machine.now, machine.busy, machine.own = 10.0, 23.0, 19.0
    assert neighbours.cores() == pytest.approx(0.4)


def test_waiting_ends_when_it_is_quiet_or_when_patience_does(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.load = 1.5
    quiet.wait_for_quiet(60)
    assert machine.now == 4  # 1.5, 1.0, 0.5, and then nothing
    machine.load = 1000
    quiet.wait_for_quiet(5)
    assert machine.now == 9
    quiet.wait_for_quiet(0)
    assert machine.now == 9


def test_the_machine_tells_its_times() -> None:
    assert quiet._busy_s() > 0
    assert quiet._own_s(None) == 0
