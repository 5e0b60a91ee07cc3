"""Serving the explorer from this machine until it is told to stop."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cotlens.errors import CotlensError, InputError, InterruptedRunError, MissingExtraError
from cotlens.explorer.attempt import attempt
from cotlens.explorer.opened import RunFolder
from cotlens.types import Progress, Silent

if TYPE_CHECKING:
    from cotlens.explorer.security import Guard

__all__ = ["FIRST_PORT", "Server", "check_extra", "open_browser", "prepare"]

#: Where the search for a free port begins.
FIRST_PORT = 8642
_TRIES = 40

logger = logging.getLogger(__name__)


def check_extra() -> None:
    """Raises:
    MissingExtraError: the packages of the extra ``explorer`` are not installed.
    """
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "explorer")


@dataclass(frozen=True, slots=True)
class Server:
    """An explorer whose port is taken: its address can be opened, and is answered while `serve` runs."""

    address: str
    folders: tuple[RunFolder, ...]
    guard: Guard
    listening: socket.socket

    def serve(self, started: Callable[[str], None]) -> None:
        """Answer until a signal comes; ``started`` is told the address once pages can be opened."""
        import uvicorn

        from cotlens.explorer.app import create_app
        from cotlens.explorer.warm import warm_up

        try:
            app = create_app(self.folders, self.guard)
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, lifespan="off", ws="none"
            )
            threading.Thread(target=warm_up, args=(self.folders,), daemon=True).start()
            started(self.address)
            uvicorn.Server(config).run(sockets=[self.listening])
        except (InterruptedRunError, KeyboardInterrupt):
            return  # that is how a reader ends it
        finally:
            self.listening.close()


def prepare(
    run_dirs: Sequence[Path],
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> Server:
    """Get ready to show one run, or two to compare.

    Args:
        run_dirs: the run, and one to compare it with.
        host: where to listen; beyond this machine only with a ``token``.
        port: of this number or, when absent, a free one.
        token: what a reader has to know; nothing when absent.
        progress: told how the index comes along, the first time that a run is opened.

    Raises:
        InputError: no run directory, a port that is taken, or a host that needs a token.
        MissingExtraError: the extra ``explorer`` is not installed.
    """
    check_extra()
    from cotlens.explorer.security import guard_for

    guard = guard_for(host, token)
    folders = tuple(RunFolder(path) for path in run_dirs)
    for folder in folders:
        folder.now()
    listening = _listen(host, port)
    _make_indexes(folders, progress or Silent())
    return Server(_address(host, listening.getsockname()[1], token), folders, guard, listening)


def open_browser(address: str) -> None:
    """Open a page in the reader's browser, if there is one with a window of its own."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:  # that kind runs in the terminal
        threading.Thread(target=browser.open, args=(address,), daemon=True).start()


def _make_indexes(folders: Sequence[RunFolder], progress: Progress) -> None:
    """Index what is there, so that the first pages need not wait; a page says why, where it can't be done."""
    for folder in folders:
        found = attempt(partial(folder.now().make_index, progress))
        if found.failed:
            logger.info("%s: not indexed: %s", folder.path, found.reason)


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on ``port``, or on the first free one."""
    ports = range(FIRST_PORT, FIRST_PORT + _TRIES) if port is None else [port]
    for number in ports:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With the protocol named, asyncio sends what it has at once; else the body of a page waits 40 ms for its head.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen(128)
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            if not (isinstance(error, OSError) and error.errno == errno.EADDRINUSE):
                raise _cannot_listen(host, number, error) from None
    if port is not None:
        raise InputError(f"--port {port} is taken; choose another one, or leave --port away for a free one")
    raise InputError(f"ports {FIRST_PORT} to {FIRST_PORT + _TRIES - 1} are all taken; choose one with --port")


def _cannot_listen(host: str, port: int, error: Exception) -> CotlensError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"can't listen on --host {host} --port {port}: {reason}")


def _address(host: str, port: int, token: str | None) -> str:
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    query = f"?token={quote(token, safe='')}" if token else ""
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/{query}"
