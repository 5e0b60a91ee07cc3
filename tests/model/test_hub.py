"""The hub is a server of the test. Each check runs in a process of its own: the client reads its settings once."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OUT_OF_REACH = (
    "3 owner/name: not in the local cache, and the hub can't be reached; download it where there is a network, or "
    "give a folder"
)
RESOLVE = """
import sys
from cotlens.errors import CotlensError
from cotlens.model.source import resolve_model
try:
    source = resolve_model(sys.argv[1], *sys.argv[2:])
    print(source.kind, source.folder.name, *sorted(file.name for file in source.folder.iterdir()))
except CotlensError as error:
    print(error.exit_code, error)
assert "torch" not in sys.modules
"""

Repository = dict[str, bytes]
Resolve = Callable[..., str]


def config(**settings: object) -> bytes:
    return json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]} | settings).encode()


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, Repository], list[str]]]:
    """Its address, its repositories, and the files that were fetched. A repository without files is gated."""
    repositories: dict[str, Repository] = {}
    fetched: list[str] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/")
            words = path.removeprefix("api/models/").split("/")
            files = repositories.get("/".join(words[:2]))
            if not path:
                self.answer()
            elif files is None:
                self.answer(status=401, X_Error_Code="RepoNotFound")
            elif words[2:3] == ["revision"] and words[3] not in ("main", COMMIT):
                self.answer(status=404, X_Error_Code="RevisionNotFound")
            elif path.startswith("api/models/") and "tree" in words:
                tree = [
                    {"type": "file", "path": name, "size": len(body), "oid": name.encode().hex()}
                    for name, body in files.items()
                ]
                self.answer(json.dumps(tree).encode(), Content_Type="application/json")
            elif path.startswith("api/models/"):
                names = [{"rfilename": name} for name in files or ("config.json", "model.safetensors")]
                about = {"id": "/".join(words[:2]), "sha": COMMIT, "siblings": names}
                self.answer(json.dumps(about).encode(), Content_Type="application/json")
            elif not files:
                self.answer(status=403, X_Error_Code="GatedRepo")
            else:
                name = "/".join(words[4:])
                if self.command == "GET":
                    fetched.append(name)
                self.answer(files[name], ETag=f'"{name.encode().hex()}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET  # noqa: N815

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", repositories, fetched
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    def resolve(endpoint: str, *arguments: str, **environment: str) -> str:
        places = {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HOME": str(tmp_path)}
        switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": ""}
        done = subprocess.run(
            [sys.executable, "-c", RESOLVE, *arguments],
            env=os.environ | places | switches | environment,
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return resolve


def test_a_model_is_fetched_once_and_then_found_without_the_hub(hub, resolve: Resolve) -> None:
    endpoint, repositories, fetched = hub
    repositories["owner/name"] = {
        "config.json": config(), "model.safetensors": b"weights", "tokenizer.json": b"{}", "README.md": b"",
        "code.py": b"pass", "original/consolidated.00.pth": b"weights again", "pytorch_model.bin": b"a pickle",
        "onnx/model.safetensors": b"again", "consolidated.safetensors": b"again",
    }  # fmt: skip
    found = f"safetensors {COMMIT} code.py config.json model.safetensors tokenizer.json"
    assert resolve(endpoint, "owner/name") == found
    assert sorted(fetched) == found.split()[2:]
    assert resolve(closed_port(), "owner/name") == found
    assert resolve(endpoint, "owner/name", HF_HUB_OFFLINE="1") == found
    assert resolve(closed_port(), "owner/name", COMMIT) == found
    assert resolve(closed_port(), "owner/name", "other").startswith("3 owner/name: not in the local cache")
    assert len(fetched) == 4


def test_a_model_in_metas_layout_is_fetched(hub, resolve: Resolve) -> None:
    endpoint, repositories, _ = hub
    files = {"params.json": b"{}", "consolidated.00.pth": b"", "consolidated.01.pth": b"", "tokenizer.model": b""}
    repositories["owner/name"] = files | {"LICENSE": b""}
    assert resolve(endpoint, "owner/name") == f"meta {COMMIT} {' '.join(sorted(files))}"
    assert resolve(closed_port(), "owner/name").startswith("meta")


def test_a_model_that_was_fetched_in_part_is_not_taken_for_whole(hub, resolve: Resolve, tmp_path: Path) -> None:
    endpoint, repositories, _ = hub
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    files = {"config.json": config(), "model.safetensors.index.json": index, **dict.fromkeys(shards, b"weights")}
    repositories["owner/name"] = files
    assert resolve(endpoint, "owner/name").startswith("safetensors")
    [shard] = tmp_path.glob(f"hub/*/snapshots/*/{shards[1]}")
    shard.unlink()
    assert resolve(closed_port(), "owner/name") == OUT_OF_REACH


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": config(), "pytorch_model.bin": b"a pickle"}, "no .safetensors file; pickle checkpoints"),
        ({"model.Q4_0.gguf": b"GGUF"}, "holds GGUF files; fetch one with `hf download owner/name model.Q4_0.gguf`"),
        ({"README.md": b""}, "holds no config.json with .safetensors"),
        (
            {"config.json": config(is_encoder_decoder=True, model_type="t5"), "model.safetensors": b"weights"},
            "an encoder-decoder model (LlamaForCausalLM)",
        ),
        (
            {"config.json": config(num_local_experts=8), "model.safetensors": b"weights"},
            "a mixture of 8 experts (LlamaForCausalLM), which is not supported yet",
        ),
        (
            {"config.json": config(model_type="mamba", state_size=16), "model.safetensors": b"weights"},
            "a model with a recurrent state",
        ),
        ({"config.json": b"[1]", "model.safetensors": b"weights"}, "expected an object, got list"),
        ({}, "gated; ask for access on its page at huggingface.co"),
        (None, "no such model on the hub, or it is private"),
    ],
)
def test_what_has_no_use_is_refused_before_its_weights_are_fetched(
    hub, resolve: Resolve, files: Repository | None, message: str
) -> None:
    endpoint, repositories, fetched = hub
    if files is not None:
        repositories["owner/name"] = files
    answer = resolve(endpoint, "owner/name")
    assert answer.startswith("3 ")
    assert message in answer
    assert set(fetched) <= {"config.json"}


def test_a_revision_that_is_not_there_is_named(hub, resolve: Resolve) -> None:
    endpoint, repositories, _ = hub
    repositories["owner/name"] = {"config.json": config(), "model.safetensors": b"weights"}
    assert resolve(endpoint, "owner/name", "v9") == "3 owner/name: the hub knows no revision 'v9' of it"


def test_without_a_network_the_error_comes_within_seconds(resolve: Resolve) -> None:
    started = time.monotonic()
    assert resolve(closed_port(), "owner/name") == OUT_OF_REACH
    assert resolve("http://no-such-host.invalid", "owner/name") == OUT_OF_REACH
    assert time.monotonic() - started < 10


def test_a_hub_that_never_answers_is_given_up_within_seconds(resolve: Resolve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert resolve(f"http://127.0.0.1:{silent.getsockname()[1]}", "owner/name") == OUT_OF_REACH
        assert time.monotonic() - started < 5


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
