"""The explorer over HTTP, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from cotlens.explorer import serve
from cotlens.explorer.app import create_app


@contextmanager
def served(*run_dirs: Path) -> Iterator[str]:
    """The address, without a slash at its end, at which the explorer of these runs answers."""
    ready = serve.prepare(run_dirs)
    config = uvicorn.Config(
        create_app(ready.folders, ready.guard), log_level="warning", access_log=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [ready.listening]})
    thread.start()
    try:
        yield ready.address.rstrip("/")
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        ready.listening.close()
