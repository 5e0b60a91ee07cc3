"""Calls that end in time: sent from an event loop in a thread of its own, which breaks off what takes too long.

The clients' own timeout is for one silence, and a server that sends a byte now and then never meets it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, TypeVar

import anyio

from cotlens.judge.faults import BusyFault

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

__all__ = ["TimedCalls"]

T = TypeVar("T")


class TimedCalls:
    """Makes calls that take ``deadline_s`` at most, from connecting to the last byte. Safe for threads.

    The loop starts with the first call; ``finish`` closes the client that lives in it.
    """

    def __init__(self, deadline_s: float, finish: Callable[[], Awaitable[None]]) -> None:
        self._deadline_s, self._finish = deadline_s, finish
        self._lock = threading.Lock()
        self._thread = ExitStack()
        self._portal: BlockingPortal | None = None

    def make(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` returns.

        Raises:
            BusyFault: its time is over.
        """
        return self._opened().call(self._bounded, work)

    def close(self) -> None:
        """Break off what is under way, and end the thread."""
        with self._lock:
            portal, self._portal = self._portal, None
        if portal is not None:
            with suppress(Exception):  # a client that can't say goodbye is gone all the same
                portal.call(self._finish)
            portal.call(portal.stop, True)
            self._thread.close()

    async def _bounded(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            with anyio.fail_after(self._deadline_s):
                return await work()
        except TimeoutError:
            told = f"no whole reply within {self._deadline_s:g} s (label.deadline_s)"
            raise BusyFault(told, sent=True) from None

    def _opened(self) -> BlockingPortal:
        from anyio.from_thread import start_blocking_portal

        with self._lock:
            if self._portal is None:
                self._portal = self._thread.enter_context(start_blocking_portal())
            return self._portal
