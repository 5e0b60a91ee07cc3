"""Children that are measured: what they tell, and what becomes of those that fail."""

import sys
from pathlib import Path

import pytest
from benchmarks.worker import Measured, PeerFailedError, Worker, measure_all

from benchmarks import serve

CODE = """
import os, sys, time

def grow(job):
    print("a library prints while it loads")
    def work():
        print("and while it works")
        os.write(1, b"even past Python\\n")
        kept = bytearray(b"x") * (job["mib"] * 2**20)
        return {"length": len(kept)}
    return work

def own_time(job):
    return lambda: {"seconds": 42.0}

def no_preparation(job):
    raise ModuleNotFoundError("No module named 'lens'\\nand more lines")

def fails(job):
    return lambda: 1 / 0

def dies(job):
    print("last words", file=sys.stderr)
    os._exit(3)

def sleeps(job):
    return lambda: time.sleep(60)

def notes(job):
    def work():
        with open(job["file"], "a") as file:
            file.write(job["name"])
        return {}
    return work

def announces(job):
    notes(job)()
    return notes(job | {"name": job["name"].upper()})
"""


@pytest.fixture(autouse=True)
def _targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def measured(worker: Worker, times: int = 1) -> Measured:
    found = measure_all({"it": worker}, {"it": times})["it"]
    assert isinstance(found, Measured), found
    return found


def test_a_child_tells_time_memory_and_facts_whatever_is_printed() -> None:
    found = measured(Worker("targets:grow", {"mib": 64}), times=2)
    assert found.facts["length"] == 64 * 2**20
    assert len(found.replies) == 2
    assert 0 < found.seconds < 30
    if sys.platform == "linux":
        assert 60 < found.extra_mib < 90
        assert found.peak_mib > found.extra_mib


def test_the_peak_of_one_measurement_is_not_that_of_another_process() -> None:
    found = measure_all(
        {"much": Worker("targets:grow", {"mib": 200}), "little": Worker("targets:grow", {"mib": 1})},
        {"much": 1, "little": 1},
    )
    assert isinstance(found["little"], Measured)
    assert found["little"].peak_mib < 100


def test_work_may_time_itself() -> None:
    assert measured(Worker("targets:own_time", {})).seconds == 42.0


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("no_preparation", "ModuleNotFoundError: No module named 'lens'"),
        ("fails", "ZeroDivisionError: division by zero"),
        ("dies", "the process ended: last words"),
        ("missing", "AttributeError: .*missing"),
    ],
)
def test_a_child_that_fails_says_why_in_one_line_and_stops_nobody(function: str, reason: str) -> None:
    workers = {"bad": Worker(f"targets:{function}", {}), "good": Worker("targets:own_time", {})}
    found = measure_all(workers, {"bad": 2, "good": 2})
    assert isinstance(found["bad"], str)
    assert "\n" not in found["bad"]
    with pytest.raises(PeerFailedError, match=reason):
        raise PeerFailedError(found["bad"])
    assert isinstance(found["good"], Measured)
    assert len(found["good"].replies) == 2


def test_a_child_that_takes_too_long_is_given_up() -> None:
    worker = Worker("targets:sleeps", {}, limit_s=2)
    assert measure_all({"it": worker}, {"it": 1})["it"] == "no answer within 2 s"
    assert worker._process is not None
    assert worker._process.poll() is not None


def test_measurements_take_turns(tmp_path: Path) -> None:
    file = str(tmp_path / "order")
    workers = {name: Worker("targets:notes", {"name": name, "file": file}) for name in "abc"}
    measure_all(workers, {"a": 3, "b": 1, "c": 2})
    assert Path(file).read_text() == "abcaca"


def reply(seconds: float, others: float = 0.0, peak: float = 10.0) -> dict[str, float]:
    return {"seconds": seconds, "others": others, "before_mib": 4.0, "peak_mib": peak, "part_s": seconds / 2}


def test_a_disturbed_measurement_does_not_count_beside_a_quiet_one() -> None:
    found = Measured.of([reply(1), reply(9, others=1.0), reply(3, peak=12)])
    assert (found.seconds, found.peak_mib, found.extra_mib, found.others) == (2, 12, 8, 0)
    assert found.each("part_s") == [0.5, 1.5]


def test_where_all_were_disturbed_all_count_and_it_is_said() -> None:
    found = Measured.of([reply(1, others=1.0), reply(3, others=0.5)])
    assert (found.seconds, found.others) == (2, 0.5)
    assert found.joined(Measured.of([reply(8)])).seconds == 8


def test_what_is_to_be_left_out_is_not_started() -> None:
    assert measure_all({"it": Worker("targets:own_time", {}, absent="no peers")}, {"it": 1}) == {"it": "no peers"}


def test_an_accelerator_is_waited_for_and_its_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Cuda:
        def synchronize(self) -> None:
            told.append("waited")

        def reset_peak_memory_stats(self) -> None:
            told.append("forgot the peak")

        def memory_allocated(self) -> int:
            return 3 * 2**20

        def max_memory_allocated(self) -> int:
            return 7 * 2**20

    monkeypatch.setattr(serve, "accelerator", Cuda)
    found = serve.measure(lambda: {"done": told.append("worked")})
    assert told == ["waited", "forgot the peak", "worked", "waited"]
    assert (found["before_mib"], found["peak_mib"]) == (3, 7)


def test_without_an_accelerator_the_process_counts() -> None:
    assert serve.accelerator() is None


def test_all_prepare_before_one_works(tmp_path: Path) -> None:
    file = str(tmp_path / "order")
    workers = {name: Worker("targets:announces", {"name": name, "file": file}) for name in "ab"}
    measure_all(workers, {"a": 1, "b": 1})
    written = Path(file).read_text()
    assert sorted(written[:2]) == ["a", "b"]
    assert written[2:] == "AB"
