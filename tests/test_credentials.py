"""Not one byte of a key in anything that is shown or kept."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
import yaml
from tests.judge_server import Request, serve_judge, text
from tests.labelled_run import make_projected_run

from cotlens.config import LabelConfig, load_config
from cotlens.credentials import clean_url, keep_secret, redact, redact_data, user_info
from cotlens.errors import ConfigError

CANARY = "sk-canary-7Qv2MxP9rT4wZ8yK1nB6"


def echo(request: Request) -> None:
    """A server that repeats what it was sent, whole and in part."""
    sent = request.headers.get("authorization", "")
    key = sent.removeprefix("Bearer ")
    if len(request.body["messages"]) > 2:  # the second time it fails, with the key in the error
        error = {"message": f"Incorrect API key provided: {key}. {sent}", "code": "invalid_api_key"}
        request.send(401, json.dumps({"error": error}), {"WWW-Authenticate": sent})
    else:
        text(f"Your key is {key}, it begins with {key[:12]}")(request)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", ["environment", "flag", "url", "environment-url"])
def test_a_canary_key_is_nowhere(way: str, tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run")
    with serve_judge() as server:
        server.rule = echo
        url = f"{server.url}/v1"
        secret_url = url.replace("//", f"//user:{CANARY}@")
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        environment |= {"COTLENS_CACHE": str(tmp_path / "cache"), "OPENAI_LOG": "debug"}
        words = ["label", str(run.path), "--judge", "openai/gpt-4o", "--debug"]
        if way == "environment":
            environment["OPENAI_API_KEY"] = CANARY
            words += ["--judge-base-url", url]
        elif way == "flag":
            words += ["--judge-base-url", url, "--judge-api-key", CANARY]
        elif way == "url":
            words += ["--judge-base-url", secret_url]
        else:
            environment["COTLENS_LABEL__BASE_URL"] = secret_url
        done = subprocess.run(
            [sys.executable, "-m", "cotlens.cli", *words],
            capture_output=True, check=False, timeout=120, cwd=tmp_path, env=environment,
        )  # fmt: skip
        sent = {request.headers["authorization"] for request in server.requests}
    assert done.returncode == 4, done.stderr
    seen = done.stdout + done.stderr + everything(tmp_path)
    assert b"401" in done.stderr
    for secret in (CANARY, *sent, b64encode(f"user:{CANARY}".encode()).decode()):
        for piece in (secret, secret[-12:], secret[8:20]):
            assert piece.encode() not in seen
    assert all(CANARY in header or header.startswith("Basic ") for header in sent), "the key was used"


def test_pieces_of_a_key_alone_are_hidden_too(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run")

    def echo_pieces(request: Request) -> None:
        key = request.headers["authorization"].removeprefix("Bearer ")
        pieces = f"{key[:13]} and {key[9:22]} and {key[-11:]}"
        if len(request.body["messages"]) > 2:
            error = {"message": f"Incorrect key: {key[:5]}*****{key[-4:]}, or {pieces}", "code": "invalid_api_key"}
            request.send(401, json.dumps({"error": error}))
        else:
            text(f"Your key has {pieces}")(request)

    with serve_judge() as server:
        server.rule = echo_pieces
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        environment |= {"COTLENS_CACHE": str(tmp_path / "cache"), "OPENAI_LOG": "debug", "OPENAI_API_KEY": CANARY}
        words = ["label", str(run.path), "--judge", "openai/gpt-4o", "--debug", "--judge-base-url", f"{server.url}/v1"]
        done = subprocess.run(
            [sys.executable, "-m", "cotlens.cli", *words],
            capture_output=True, check=False, timeout=120, cwd=tmp_path, env=environment,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert b"401: Incorrect key: [hidden], or [hidden]" in done.stderr
    seen = done.stdout + done.stderr + everything(tmp_path)
    assert not [piece for piece in (CANARY[n : n + 6] for n in range(3, len(CANARY) - 5)) if piece.encode() in seen]
    assert CANARY[-4:].encode() not in seen, "not even what the server leaves of it"


def test_pieces_and_encodings_of_a_secret_are_hidden() -> None:
    secret = keep_secret("s3cret/value+of=mine")
    for form in (secret, "s3cret%2Fvalue%2Bof%3Dmine", b64encode(secret.encode()).decode(), secret[:10], secret[5:]):
        assert redact(f"before {form} after") == "before [hidden] after"
    assert redact_data({"a": [secret, 1], secret: None}) == {"a": ["[hidden]", 1], "[hidden]": None}
    assert redact("nothing here") == "nothing here"


def test_what_is_no_secret_makes_no_hole() -> None:
    for word in ("", "x", "ollama", "EMPTY"):
        keep_secret(word)
    assert redact("ollama x EMPTY") == "ollama x EMPTY"


def test_a_url_loses_its_password_and_keeps_it_in_memory() -> None:
    assert clean_url("https://ann:p%40ss-word@host:8000/v1/") == "https://host:8000/v1"
    assert user_info("https://host:8000/v1") == "ann:p@ss-word"
    assert "p@ss-word" not in redact("is p@ss-word shown?")
    settings = LabelConfig(base_url={"openai/x": "http://bob:another-word@here/v1"})
    assert "another-word" not in settings.model_dump_json()


URLS = ["ftp://u:the-password@host", "https://u:the-password@", "https://h/v1?api-key=the-password"]


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[f"label.base_url={yaml.safe_dump(url)}"])
    assert "the-password" not in str(caught.value)
