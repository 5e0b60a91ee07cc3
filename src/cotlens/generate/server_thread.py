"""The thread that talks with a completions server, while the main thread reads what has come and heeds signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from cotlens.generate.server_connection import Connection
from cotlens.generate.server_messages import Reply, Request

__all__ = ["cancel", "connected", "next_ended", "result", "sent"]

# A library may have set a signal's handler so that it no longer ends a wait without a limit.
_WAIT_S = 0.5

T = TypeVar("T")
Ended: TypeAlias = SimpleQueue[Future[Reply]]


@contextmanager
def connected(url: str, at_once: int = 1) -> Iterator[tuple[BlockingPortal, Connection]]:
    """A connection, and the thread with the event loop that it lives in; what is under way at the end is given up."""
    with start_blocking_portal() as portal:
        connection = Connection(url, at_once)
        try:
            yield portal, connection
        finally:
            portal.call(connection.close)


@contextmanager
def sent(url: str, at_once: int, requests: Sequence[Request]) -> Iterator[tuple[list[Future[Reply]], Ended]]:
    """The replies to be, in the order of ``requests``, and those that have come, in theirs."""
    ended: Ended = SimpleQueue()
    with connected(url, at_once) as (portal, connection):
        futures = [portal.start_task_soon(connection.ask, request) for request in requests]
        for future in futures:
            future.add_done_callback(ended.put)
        try:
            yield futures, ended
        finally:
            cancel(futures)


def next_ended(ended: Ended) -> Future[Reply]:
    """The next that has come, waited for."""
    while True:
        with suppress(Empty):
            return ended.get(timeout=_WAIT_S)


def result(future: Future[T]) -> T:
    """What ``future`` gives, waited for."""
    while not wait([future], timeout=_WAIT_S).done:
        pass
    return future.result()


def cancel(futures: Sequence[Future[Reply]]) -> None:
    """Give up what has not come yet."""
    for future in futures:
        future.cancel()
