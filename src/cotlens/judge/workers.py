"""Many questions at once, each on a thread of its own, and all of them left in good order.

The threads are daemons: a process that is told to stop does not wait for a server that does not answer. What arrives
within a few seconds after that is still taken.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from cotlens.judge.ledger import Stop

__all__ = ["in_parallel"]

#: How long replies that are on their way are waited for after a stop.
GRACE_S = 4.0

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Sequence[T], workers: int, stop: Stop) -> Iterator[R]:
    """Results in the order in which they come. The first exception stops all workers and is raised."""
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[R | None, BaseException | None]] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def run() -> None:
        while not stop.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((work(item), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
                done.put((None, error))  # before the others hear of it, so that the cause comes first
                stop.set()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(workers, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            result, error = _take(done)
            if error is not None:
                raise error
            yield result  # type: ignore[misc]
    except BaseException:
        stop.set()
        raise
    finally:
        deadline = time.monotonic() + GRACE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _take(done: queue.SimpleQueue[tuple[R | None, BaseException | None]]) -> tuple[R | None, BaseException | None]:
    while True:
        try:
            return done.get(timeout=0.5)  # signals are handled between two waits
        except queue.Empty:
            continue
