"""What judging costs: every call is entered before it is sent, at the most that it can cost, and settled afterwards.

``calls.jsonl`` holds both entries, so that calls whose reply was lost in a crash count at their full price, and totals
go on where an earlier try ended. A limit is therefore never exceeded, at any concurrency.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cotlens.errors import JudgeStoppedError
from cotlens.files import open_for_appending, read_jsonl

__all__ = ["Call", "Ledger", "Stop"]


class Stop:
    """A flag that all who wait look at: set, they leave off at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep unless stopped; True if stopped."""
        return self._event.wait(seconds)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was entered. ``most_usd`` is what is set aside for it."""

    number: int
    most_usd: float


class Ledger:
    """The calls of a run. Safe for threads. Without a ``path`` nothing outlasts the process.

    Raises:
        JudgeStoppedError: by `enter`, if the next call could exceed a limit.
    """

    def __init__(
        self, path: Path | None = None, max_cost_usd: float | None = None, max_calls: int | None = None
    ) -> None:
        self._max_cost_usd, self._max_calls = max_cost_usd, max_calls
        self._changed = threading.Condition()
        self._open: dict[int, float] = {}
        self.calls, self.cost_usd, self.tokens = 0, 0.0, 0
        self._path = path
        self._file: BinaryIO | None = None
        if path is not None:
            self._read(path)

    def enter(self, judge: str, most_usd: float, stop: Stop) -> Call:
        """Set ``most_usd`` aside for a call; waits while calls under way may still turn out cheaper."""
        with self._changed:
            while self._max_cost_usd is not None and self._spoken_for + most_usd > self._max_cost_usd:
                if not self._open or stop.is_set():
                    raise JudgeStoppedError(self._used_up(most_usd))
                self._changed.wait(0.1)
            if self._max_calls is not None and self.calls >= self._max_calls:
                raise JudgeStoppedError(
                    f"the limit of {self._max_calls:,} calls is reached; raise --max-calls to go on"
                )
            self.calls += 1
            call = Call(self.calls, most_usd)
            self._open[call.number] = most_usd
            self._write({"call": call.number, "judge": judge, "sent": True, "most_usd": most_usd})
            return call

    def settle(self, call: Call, cost_usd: float, tokens: int = 0) -> None:
        """The call has ended, and cost so much."""
        with self._changed:
            del self._open[call.number]
            self.cost_usd += cost_usd
            self.tokens += tokens
            self._write({"call": call.number, "sent": False, "cost_usd": cost_usd, "tokens": tokens})
            self._changed.notify_all()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def _spoken_for(self) -> float:
        return self.cost_usd + sum(self._open.values())

    def _used_up(self, most_usd: float) -> str:
        return (
            f"the budget of ${self._max_cost_usd:.4g} is used up: ${self.cost_usd:.4f} spent in {self.calls:,} calls, "
            f"and the next may cost up to ${most_usd:.4f}; raise --max-cost-usd to go on"
        )

    def _read(self, path: Path) -> None:
        pending: dict[int, float] = {}
        for line in read_jsonl(path):
            if line["sent"]:
                pending[line["call"]] = line["most_usd"]
                self.calls = max(self.calls, line["call"])
            else:
                pending.pop(line["call"], None)
                self.cost_usd += line["cost_usd"]
                self.tokens += line["tokens"]
        self.cost_usd += sum(pending.values())  # sent, and nobody knows what became of them

    def _write(self, entry: dict[str, object]) -> None:
        if self._file is None and self._path is not None:
            self._file = open_for_appending(self._path)
        if self._file is not None:
            self._file.write((json.dumps(entry) + "\n").encode())
            self._file.flush()
