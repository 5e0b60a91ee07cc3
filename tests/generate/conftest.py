"""A completions server on a local port that answers from a tiny model, and misbehaves as a test tells it to."""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cotlens import LanguageModel, generate
from cotlens.generate import server_connection

#: Parameters that a server of each kind knows beyond OpenAI's own, None for all, and the prompts that it takes.
KINDS = {"vllm": (None, (list, str)), "openai": ((), (list, str)), "text": (None, (str,))}
_PLAIN = {"model", "prompt", "max_tokens", "temperature", "stop"}


class CompletionsServer(ThreadingHTTPServer):
    """``faults`` are used up first, one per request for a completion; then ``texts``; then the model answers.

    A fault is an HTTP status, a status with body and headers, "reset" for a connection that is cut, or a function of
    the request that gives status and body.
    """

    daemon_threads = True

    def __init__(self, lm: LanguageModel, kind: str = "vllm") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lm, self.kind = lm, kind
        self.models: list[str] | None = ["tiny"]
        self.faults: deque[Any] = deque()
        self.texts: dict[str, dict[str, Any]] = {}
        self.delay: Callable[[int], float] = lambda number: 0.0
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.waiting = self.most_waiting = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        extras, prompts = KINDS[self.kind]
        if (unknown := sorted(body.keys() - _PLAIN)) and extras is not None:
            return 400, {"error": {"message": f"Unrecognized request argument: {unknown[0]}"}}
        if not isinstance(body["prompt"], prompts):
            return 422, {"detail": "prompt must be a string"}
        if body["model"] not in (self.models or ["tiny"]):
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        prompt = body["prompt"]
        ids = self.lm.encode(prompt) if isinstance(prompt, str) else prompt
        text = self.lm.decode(ids)
        choice = next((found for end, found in self.texts.items() if text.endswith(end)), None)
        if choice is None:
            with self.lock:
                choice = self._generate(ids, body)
        usage = {"prompt_tokens": len(ids)} | choice.pop("usage", {})
        return 200, {"choices": [{"index": 0} | choice], "usage": usage}

    def _generate(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        """As vLLM: tokens up to the stop or the end token, and the text before it."""
        [done] = generate(self.lm, [ids], max_new_tokens=body["max_tokens"], stop=())
        tokens, text, finish, reason = list(done.token_ids), done.text, "length", None
        if done.stop_reason == "eos":
            tokens, finish = [*tokens, min(self.lm.stop_ids)], "stop"
        for count in range(1, len(done.token_ids) + 1):
            before = self.lm.decode(tokens[:count])
            found = [(before.index(stop), stop) for stop in body.get("stop") or () if stop in before]
            if found:
                place, reason = min(found)
                tokens, finish = tokens[:count], "stop"
                text = before[: place + len(reason) * bool(body.get("include_stop_str_in_output"))]
                break
        choice = {"text": text, "finish_reason": finish, "usage": {"completion_tokens": len(tokens)}}
        if self.kind == "vllm":
            choice |= {"stop_reason": reason}
        if body.get("return_token_ids"):
            choice |= {"token_ids": tokens, "prompt_token_ids": ids}
        return choice


class _Handler(BaseHTTPRequestHandler):
    server: CompletionsServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        if self.server.models is None:
            self._send(404, {"error": {"message": "no such route"}})
        else:
            self._send(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append(body)
            number = len(server.asked)
            server.keys.append(self.headers["Authorization"])
            fault = server.faults.popleft() if server.faults else None
            server.waiting += 1
            server.most_waiting = max(server.most_waiting, server.waiting)
        time.sleep(server.delay(number))
        if fault == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(*self._answer(fault, body))
        with server.lock:
            server.waiting -= 1

    def _answer(self, fault: Any, body: dict[str, Any]) -> tuple[Any, ...]:
        if fault is None:
            return self.server.complete(body)
        if callable(fault):
            return fault(body)
        return fault if isinstance(fault, tuple) else (fault, {"error": {"message": f"fault {fault}"}})

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client has gone

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def serve(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., CompletionsServer]]:
    """Starts a server of a kind; impatient clients wait a hundredth of a second."""
    for name in ("OPENAI_API_KEY", "COTLENS_GENERATOR_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server_connection, "FIRST_WAIT_S", 0.01)
    servers: list[CompletionsServer] = []

    def start(kind: str = "vllm", lm: LanguageModel = llama) -> CompletionsServer:
        server = CompletionsServer(lm, kind)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()
