"""Killed at any reply and started again, nothing is paid twice; told to stop, it stops soon."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.judge.conftest import CALL_USD, Office, many, twice
from tests.judge_server import JudgeServer, Request, fail, say

from cotlens.errors import InterruptedRunError
from cotlens.judge.ledger import Ledger

DRIVER = Path(__file__).parents[1] / "judge_driver.py"
ROOT = Path(__file__).parents[2]


def drive(folder: Path, server: JudgeServer, number: int, *more: str) -> int:
    """Run the driver to its end; its exit code."""
    command = [sys.executable, str(DRIVER), str(folder), f"{server.url}/v1", str(number), *more]
    places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places}
    return subprocess.run(command, capture_output=True, check=False, timeout=120, env=environment).returncode


def test_killed_twice_and_resumed_it_pays_nothing_twice(tmp_path: Path, server: JudgeServer, office: Office) -> None:
    for fatal_write in ("3", "5"):
        assert drive(tmp_path, server, 12, fatal_write) == -signal.SIGKILL
    stored = {json.loads(line)["question_hash"] for line in (tmp_path / "judgements.jsonl").read_text().splitlines()}
    answered = {request.id for request in server.requests}
    before = len(server.requests)
    office.answer(twice(12))
    again = [request.id for request in server.requests[before:]]
    # A call under way when the process was killed is lost; at most one for each of four workers and each kill.
    assert len(server.requests) <= 12 + 2 * 4
    assert len(again) == len(set(again)) == 12 - len(stored)
    assert answered | set(again) == {request.id for request in server.requests}
    records = [json.loads(line) for line in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert len(records) == 24
    assert sum(record["calls"] for record in records) == 12
    ledger = Ledger(tmp_path / "calls.jsonl")
    assert ledger.calls >= len(server.requests), "what was about to be sent counts"
    assert ledger.cost_usd >= len(server.requests) * CALL_USD - 1e-9, "lost calls count too"


def test_a_line_that_was_cut_off_is_written_anew(office: Office) -> None:
    office.answer(many(3), concurrency=1)
    path = office.folder / "judgements.jsonl"
    whole = path.read_bytes()
    for _ in range(5):
        path.write_bytes(whole[: random.Random(0).randrange(whole.rfind(b"\n", 0, -1) + 2, len(whole) - 1)])
        assert len(office.answer(many(3))) == 3
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_for_a_busy_server(
    number: signal.Signals, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedRunError("stopped", number)

    before = signal.signal(number, interrupt)
    office.server.rule = fail(429, headers={"Retry-After": "200"})
    timer = threading.Timer(0.4, os.kill, (os.getpid(), number))
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(InterruptedRunError):
            office.answer(many(8))
    finally:
        signal.signal(number, before)
    assert time.monotonic() - started < 8
    assert len(office.server.requests) <= 4
    office.server.rule = say()
    assert len(office.answer(many(8))) == 8


def test_replies_on_their_way_are_taken_when_it_stops(office: Office) -> None:
    late = threading.Event()

    def slow(request: Request) -> None:
        if len(office.server.requests) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        late.wait(5)
        say()(request)

    def interrupt(*_: object) -> None:
        late.set()
        raise InterruptedRunError("stopped", 15)

    before = signal.signal(signal.SIGTERM, interrupt)
    office.server.rule = slow
    try:
        with pytest.raises(InterruptedRunError):
            office.answer(many(8), concurrency=4)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len((office.folder / "judgements.jsonl").read_text().splitlines()) == len(office.server.requests) > 0
