"""Faults of a server: those that pass are waited for, visibly and not for ever; others are one line without the key."""

import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from cotlens import LanguageModel
from cotlens.config import GenerateConfig
from cotlens.errors import CotlensError, EnvironmentFault, InputError
from cotlens.generate import server_connection
from cotlens.generate.server import complete_by_server, connect, find_model

Serve = Callable[..., Any]
KEY = "sk-5e4c8a71-very/secret+key"


def ask_once(server: Any, lm: LanguageModel, faults: list[Any]) -> tuple[str, int]:
    """The text of one completion after ``faults``, and how many requests it took."""
    ready = connect(lm, GenerateConfig(server=server.url))
    server.faults.extend(faults)
    before = len(server.asked)
    [(_, done)] = complete_by_server(ready, lm, [lm.encode("Is it?")], 4, ())
    return done.text, len(server.asked) - before


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (500, "HTTP 500: fault 500"),
        ((429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}), "slow down; trying again in 0 s (2 of 6)"),
        ((502, "<html>Bad gateway</html>", {"Content-Type": "text/html"}), "HTTP 502: <html>Bad gateway</html>"),
        ((200, {"error": {"message": "overloaded"}}), 'answered with no completion: \'{"error"'),
        ((200, '{"choices": [{"te'), "answered with no completion"),
        ((200, "<html>Hello</html>", {"Content-Type": "text/html"}), "answered with no completion"),
        ((200, {"choices": [{"text": "x", "finish_reason": "abort"}]}), "answered with no completion"),
        ("reset", "no connection ("),
    ],
)
def test_a_fault_that_passes_is_waited_for_and_told(
    serve: Serve, llama: LanguageModel, caplog: pytest.LogCaptureFixture, fault: Any, said: str
) -> None:
    server = serve()
    expected = ask_once(server, llama, [])[0]
    caplog.clear()
    assert ask_once(server, llama, [fault]) == (expected, 2)
    [line] = caplog.messages
    assert said in line
    assert "trying again in" in line


def test_a_server_says_how_long_to_wait(
    serve: Serve, llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    real = server_connection.anyio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real(0)

    monkeypatch.setattr(server_connection.anyio, "sleep", sleep)
    busy = {"error": {"message": "busy"}}
    faults = [(429, busy, {"Retry-After": after}) for after in ("7", "900", "soon")]
    ask_once(serve(), llama, [*faults, 503])
    assert waits == [7.0, server_connection.LONGEST_WAIT_S, 0.04, 0.08]
    assert caplog.messages


def test_a_fault_of_all_requests_is_said_once(
    serve: Serve, llama: LanguageModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    ready = connect(llama, GenerateConfig(server=server.url))
    monkeypatch.setattr(server_connection, "FIRST_WAIT_S", 0.5)
    server.faults.extend([503] * 8)
    assert len(list(complete_by_server(ready, llama, [[5, 6]] * 8, 3, ()))) == 8
    assert len(caplog.messages) == 1


def test_patience_ends(serve: Serve, llama: LanguageModel) -> None:
    server = serve()
    ready = connect(llama, GenerateConfig(server=server.url))
    server.faults.extend([500] * 50)
    with pytest.raises(EnvironmentFault, match=r"/v1: HTTP 500: fault 500$"):
        list(complete_by_server(ready, llama, [[5]], 4, ()))
    assert 50 - len(server.faults) == server_connection.TRIES


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (401, "HTTP 401: it asks for an API key; set COTLENS_GENERATOR_KEY or OPENAI_API_KEY"),
        (403, "HTTP 403: it asks for an API key"),
        ((400, {"error": {"message": "maximum context length is 512"}}), "HTTP 400: maximum context length is 512"),
        ((400, {"object": "error", "message": "too long"}), "HTTP 400: too long"),
        ((422, {"detail": [{"msg": "bad"}]}), "HTTP 422: [{'msg': 'bad'}]"),
        ((429, {"error": {"message": "no credit", "code": "insufficient_quota"}}), "HTTP 429: no credit"),
    ],
)
def test_a_fault_that_stays_is_one_line_at_once(serve: Serve, llama: LanguageModel, fault: Any, message: str) -> None:
    server = serve()
    ready = connect(llama, GenerateConfig(server=server.url))
    server.faults.append(fault)
    before = len(server.asked)
    with pytest.raises(EnvironmentFault) as caught:
        list(complete_by_server(ready, llama, [[5]], 4, ()))
    assert message in str(caught.value)
    assert len(server.asked) == before + 1


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match=rf"{url}/v1: no connection \(.+\); start the server, or mend --gen"):
        find_model(GenerateConfig(server=url))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, "none"),
        ({"OPENAI_API_KEY": KEY}, KEY),
        ({"OPENAI_API_KEY": "other", "COTLENS_GENERATOR_KEY": f" {KEY}\n"}, KEY),
    ],
)
def test_the_key_comes_from_the_environment(
    serve: Serve, llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sent: str
) -> None:
    server = serve()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ask_once(server, llama, [])
    assert set(server.keys) == {f"Bearer {sent}"}


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500])
def test_a_key_that_the_server_repeats_is_never_shown(
    serve: Serve, llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG, "cotlens")
    monkeypatch.setenv("COTLENS_GENERATOR_KEY", KEY)
    server = serve()
    said = {"error": {"message": f"key {KEY} ({KEY[:6]}***)" if status in (401, 403) else f"key {KEY}"}}
    server.faults.extend([(status, said)] * 50)
    with pytest.raises(CotlensError) as caught:
        connect(llama, GenerateConfig(server=server.url))
    told = f"{caught.value}{caplog.text}"
    assert KEY not in told
    assert KEY[:6] not in told
    assert caught.value.__suppress_context__


def test_a_key_that_can_be_none_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTLENS_GENERATOR_KEY", "sk-1\nsk-2")
    with pytest.raises(InputError, match=r"^COTLENS_GENERATOR_KEY holds characters that no API key has; set it again$"):
        find_model(GenerateConfig(server="http://127.0.0.1:9"))


def test_what_a_server_says_can_not_steer_the_terminal(serve: Serve, llama: LanguageModel) -> None:
    server = serve()
    server.faults.extend([(400, json.dumps({"error": {"message": "\x1b[2J\u202eno\nway" + "x" * 9000}}))] * 9)
    with pytest.raises(EnvironmentFault) as caught:
        connect(llama, GenerateConfig(server=server.url))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
