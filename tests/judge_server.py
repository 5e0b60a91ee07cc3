"""A judge behind a real socket, scripted request by request: it speaks OpenAI's and Anthropic's protocols.

It says yes if a word of addition is among the tokens it is shown. A script of actions comes first, one per request; an
action is a function of the request that is being handled.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = re.compile(r'"␣?(plus|add|sum|\+)"')
USAGE = {"prompt_tokens": 400, "completion_tokens": 40, "total_tokens": 440}


@dataclass
class Request:
    """One request, the names of its headers in lower case, and the means to answer it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    handler: BaseHTTPRequestHandler

    @property
    def prompt(self) -> str:
        """The first message of the user."""
        return next(m["content"] for m in self.body["messages"] if m["role"] == "user")

    @property
    def id(self) -> str:
        return re.search(r"--- begin (q\w+) ---", self.prompt)[1]

    @property
    def verdict(self) -> str:
        return "yes" if WORDS.search(self.prompt) else "no"

    def send(
        self, status: int, body: str, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        data = body.encode("utf-8", "surrogatepass")
        self.handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(data)


Action = Callable[[Request], None]


def say(**changes: Any) -> Action:
    """A proper reply, with some fields changed."""

    def act(request: Request) -> None:
        reply = {"id": request.id, "verdict": request.verdict, "reason": "By its words.", "confidence": 0.9}
        text(json.dumps(reply | changes))(request)

    return act


def text(raw: str | Callable[[Request], str] | None, usage: dict[str, int] | None = USAGE, **choice: Any) -> Action:
    """A completion with this content."""

    def act(request: Request) -> None:
        content = raw(request) if callable(raw) else raw
        if request.path.endswith("/messages"):
            blocks = [] if content is None else [{"type": "text", "text": content}]
            reply: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": blocks}
            reply |= {"stop_reason": choice.get("finish_reason", "end_turn"), "stop_sequence": None}
            reply |= {"usage": {"input_tokens": USAGE["prompt_tokens"], "output_tokens": USAGE["completion_tokens"]}}
        else:
            message = {"role": "assistant", "content": content, **choice.pop("message", {})}
            reply = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
            reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"} | choice]
            reply |= {"usage": usage} if usage else {}
        request.send(200, json.dumps(reply))

    return act


def fail(status: int, message: str = "trouble", headers: dict[str, str] | None = None, **error: Any) -> Action:
    """An error in the form of the API."""
    return lambda request: request.send(status, json.dumps({"error": {"message": message} | error}), headers)


def raw(status: int, body: str, kind: str = "text/html") -> Action:
    return lambda request: request.send(status, body, kind=kind)


def reset(request: Request) -> None:
    """The connection breaks."""
    linger = struct.pack("ii", 1, 0)
    request.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(request.handler.connection.detach())
    raise ConnectionResetError


def stall(seconds: float) -> Action:
    """The head of a response, a piece of its body, and then silence."""

    def act(request: Request) -> None:
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", "500")
        request.handler.end_headers()
        request.handler.wfile.write(b'{"choices"')
        request.handler.wfile.flush()
        threading.Event().wait(seconds)

    return act


def drip(seconds: float, head: bool = False) -> Action:
    """A byte now and then, of the head of a response or of its body."""

    def act(request: Request) -> None:
        file = request.handler.wfile
        start = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n"
        file.write(start + (b"X-Slow: " if head else b"\r\n"))
        for _ in range(int(seconds / 0.1)):
            file.write(b" ")
            file.flush()
            threading.Event().wait(0.1)

    return act


@dataclass
class JudgeServer:
    """``script`` holds the next actions, ``rule`` answers when it is empty; ``requests`` keeps what came."""

    url: str
    script: list[Action] = field(default_factory=list)
    rule: Action = field(default_factory=say)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, request: Request) -> None:
        with self.lock:
            self.requests.append(request)
            action = self.script.pop(0) if self.script else self.rule
        action(request)


@contextmanager
def serve_judge() -> Iterator[JudgeServer]:
    """A server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                judge.handle(
                    Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body, self)
                )
            except (ConnectionError, ValueError):
                self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, ValueError, OSError):
                self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:  # the client has gone; what was to be sent to it is still in the buffer
                self.rfile.close()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # many callers connect at once

        def handle_error(self, *_: object) -> None:
            """A broken connection is part of the script."""

    server = Server(("127.0.0.1", 0), Handler)
    judge = JudgeServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
