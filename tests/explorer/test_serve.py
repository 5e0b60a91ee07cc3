"""Getting ready to serve: the port, the host, the extra, and the command."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotlens.errors import InputError, MissingExtraError
from cotlens.explorer import serve

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def view(tmp_path: Path) -> Command:
    """Runs ``cotlens view`` to its end."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cotlens.cli", "view", *words]
        environment = os.environ | {"COTLENS_CACHE": str(tmp_path / "cache")}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)

    return run


def test_a_free_port_is_found_beside_one_that_is_taken(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(serve, "FIRST_PORT", taken.getsockname()[1])
        server = serve.prepare([finished])
        assert server.address.startswith("http://127.0.0.1:")
        assert server.listening.getsockname()[1] > taken.getsockname()[1]
        server.listening.close()


def test_the_body_of_a_page_does_not_wait_for_its_head(finished: Path) -> None:
    server = serve.prepare([finished])
    assert server.listening.proto == socket.IPPROTO_TCP, "asyncio turns Nagle's algorithm off for these only"
    server.listening.close()


def test_a_port_that_is_asked_for_and_taken_is_an_error(finished: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port} is taken"):
            serve.prepare([finished], port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no.such.host.invalid", 8642), ("127.0.0.1", -1)])
def test_an_address_that_can_not_be_had_is_an_error(finished: Path, host: str, port: int) -> None:
    with pytest.raises(InputError, match="can't listen on"):
        serve.prepare([finished], host, port, "a-long-secret")


def test_a_missing_extra_is_named(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'cotlens\[explorer\]'") as raised:
        serve.prepare([finished])
    assert raised.value.exit_code == 3


def test_the_token_is_part_of_the_address(finished: Path) -> None:
    server = serve.prepare([finished], token="a secret&more")
    assert server.address.endswith("/?token=a%20secret%26more")
    server.listening.close()


def test_mistakes_are_one_line(view: Command, finished: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, code, text in (
            ((str(tmp_path),), 2, "not a run directory"),
            ((str(finished), "--port", port), 2, f"--port {port} is taken"),
            ((str(finished), "--host", "0.0.0.0"), 2, "add --token SECRET"),
            ((str(finished), "--compare", str(tmp_path)), 2, "not a run directory"),
            ((str(finished), "--static", str(finished)), 2, "holds something"),
        ):
            done = view(*words)
            assert done.returncode == code, done.stderr
            assert done.stderr.splitlines()[-1].startswith("cotlens: ")
            assert text in done.stderr
            assert "Traceback" not in done.stderr


def test_a_run_is_served_until_a_signal_comes(finished: Path, tmp_path: Path) -> None:
    environment = os.environ | {"COTLENS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "cotlens.cli", "view", str(finished), "--no-open"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        assert _fetch(f"{address}completion/cot/q0").count("data-walk") == 1
        assert _fetch(f"{address}api/figures/accuracy")
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        assert process.returncode == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def _fetch(address: str) -> str:
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return str(answer.read().decode())
        except ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


def test_looking_at_a_run_needs_no_torch(finished: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cotlens.explorer.app import create_app; "
        "from starlette.testclient import TestClient; "
        "client = TestClient(create_app([Path(sys.argv[1])]), base_url='http://127.0.0.1'); "
        "assert client.get('/').status_code == 200 and client.get('/figures/accuracy.json').status_code == 200; "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    environment = os.environ | {"COTLENS_CACHE": str(tmp_path / "cache")}
    done: Any = subprocess.run(
        [sys.executable, "-c", code, str(finished)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["False", "False"]
