"""The index of a run while it is being made: pages that need it say so, and are not kept waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cotlens.errors import CotlensError, InputError
from cotlens.explorer.index import ActivityIndex
from cotlens.types import Progress

__all__ = ["PATIENCE_S", "IndexInTheMaking"]

#: Opening an index that is there, or making that of a small run, takes less.
PATIENCE_S = 1.0


class IndexInTheMaking:
    """Opens or builds the index of a run in a thread of its own, once it is asked for."""

    def __init__(self, make: Callable[[Progress], ActivityIndex]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._found: ActivityIndex | None = None
        self._error: CotlensError | None = None
        self._done, self._total = 0, 0

    def get(self, patience_s: float = PATIENCE_S) -> ActivityIndex:
        """The index, waited for so long.

        Raises:
            InputError: it is not ready yet, or the activations are missing or damaged.
            EnvironmentFault: the cache can't be written.
        """
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._open, name="cotlens-index", daemon=True)
                self._thread.start()
        self._thread.join(patience_s)
        if self._error is not None:
            raise self._error
        if self._found is None:
            share = f"{self._done / self._total:.0%}" if self._total else "just begun"
            raise InputError(f"the activations are being indexed ({share}); reload this page in a moment")
        return self._found

    def begin(self, what: str, total: int) -> None:
        """As a `Progress`."""
        self._done, self._total = 0, total

    def advance(self, items: int) -> None:
        """As a `Progress`."""
        self._done += items

    def _open(self) -> None:
        try:
            self._found = self._make(self)
        except CotlensError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - a damaged file can raise anything, and nobody waits for this thread
            self._error = InputError(f"the activations can't be indexed: {type(error).__name__}: {error}")
