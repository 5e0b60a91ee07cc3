"""Who is let in, what is refused, and what the answers forbid the browser."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.explorer.conftest import client_of

from cotlens.errors import InputError
from cotlens.explorer.app import create_app
from cotlens.explorer.security import Guard, guard_for


def ask(folder: Path, raw_path: bytes, guard: Guard | None = None) -> int:
    """The status of a request whose address no client would clean up before it is sent."""
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": raw_path.partition(b"?")[0].decode("latin-1"), "raw_path": raw_path, "query_string": b"",
        "root_path": "", "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(create_app([folder], guard)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "address",
    [
        b"/../../etc/passwd",
        b"/static/../../../etc/passwd",
        b"/static/%2e%2e/%2e%2e/etc/passwd",
        b"/static/%2E%2E%2Fsecret",
        b"/static/..%5c..%5csecret",
        b"/completion/cot/%2e%2e",
        b"/completion/cot/q0%00",
        b"/neuron/\x00",
        b"/api/completions/cot/..%2f..%2fmanifest.json",
    ],
)
def test_addresses_with_steps_upwards_and_control_characters_are_refused(finished: Path, address: bytes) -> None:
    assert ask(finished, address) == 400


@pytest.mark.parametrize("address", ["/etc/passwd", "/static//etc/passwd", "/static/app.css/x", "/manifest.json"])
def test_no_file_on_disk_has_an_address(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("address", ["/", "/api/overview", "/static/app.css"])
def test_only_reading_is_allowed(client: TestClient, method: str, address: str) -> None:
    answer = client.request(method, address)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_head_answers_as_get_does(client: TestClient) -> None:
    for address in ("/", "/api/overview", "/static/app.css"):
        assert client.head(address).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "[::1", "10.0.0.1"],
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost", "LOCALHOST:9000", "[::1]:8642"])
def test_the_names_of_this_machine_are_let_in(client: TestClient, host: str) -> None:
    assert client.get("/static/app.css", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
def test_what_another_site_asks_for_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/overview", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8642"},
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)
def test_own_pages_and_links_from_elsewhere_are_let_in(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/static/app.css", headers=headers).status_code == 200


@pytest.mark.parametrize("address", ["/", "/nothing", "/api/overview", "/static/main.js", "/../x"])
def test_every_answer_forbids_what_a_page_does_not_need(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_other_machines_need_a_token() -> None:
    with pytest.raises(InputError, match="--token"):
        guard_for("0.0.0.0", None)
    with pytest.raises(InputError, match="--token"):
        guard_for("192.168.0.7", None)
    with pytest.raises(InputError, match="too few"):
        guard_for("0.0.0.0", "short")
    assert guard_for("127.0.0.1", None) == Guard(frozenset({"127.0.0.1", "localhost", "::1"}), None)


def test_the_token_is_asked_of_everything_and_stays_in_a_cookie(finished: Path) -> None:
    client = client_of(finished, guard=guard_for("0.0.0.0", "a-long-secret"))
    for address in ("/", "/api/overview", "/static/app.css", "/?token=wrong-secret"):
        assert client.get(address).status_code == 401
    assert client.get("/api/overview", headers={"authorization": "Bearer a-long-secret"}).status_code == 200
    assert client.get("/", headers={"cookie": "cotlens_token=wrong"}).status_code == 401
    entered = client.get("/neurons?token=a-long-secret")
    assert entered.status_code == 303
    assert entered.headers["location"] == "/neurons"
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert client.get("/neurons").status_code == 200


def test_a_redirect_never_leads_to_another_site(finished: Path) -> None:
    client = client_of(finished, guard=guard_for("0.0.0.0", "a-long-secret"))
    answer = client.get("http://127.0.0.1:8642//evil.example/?token=a-long-secret")
    assert not answer.headers.get("location", "/").startswith("//")
