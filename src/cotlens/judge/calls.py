"""Calls to a server: each entered in the ledger, repeated after a bounded wait where that can help.

Waits double from one second, with a little chance in them so that many callers don't come back at once, and are never
shorter than the server asks for. One that is told to wait holds up all callers of the same judge.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cotlens.errors import InputError, JudgeStoppedError
from cotlens.judge.chat import ChatReply
from cotlens.judge.faults import BusyFault, DeniedFault, Fault, RejectedFault, Usage
from cotlens.judge.ledger import Call, Ledger, Stop
from cotlens.judge.prices import Price

__all__ = ["Calls", "GaveUpError", "Limits", "Spent"]

logger = logging.getLogger(__name__)

_LONGEST_STEP_S = 60.0


class GaveUpError(Exception):
    """So many attempts failed that this question has no reply."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_attempts`` per question; ``max_wait_s`` is the longest single wait; after ``max_failures`` questions in a
    row without any reply the judge is taken to be out of reach."""

    max_attempts: int = 6
    max_wait_s: float = 300.0
    max_failures: int = 4


@dataclass(slots=True)
class Spent:
    """What the attempts at one question have cost so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass
class Calls:
    """The calls of one judge. Safe for threads. ``key_hint`` says how its key is set."""

    judge: str
    ledger: Ledger
    price: Price | None = None
    limits: Limits = Limits()
    stop: Stop = field(default_factory=Stop)
    key_hint: str = ""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._failures = 0
        self._chance = random.Random(0)

    def make(self, send: Callable[[], ChatReply], most_tokens: tuple[int, int], spent: Spent) -> ChatReply:
        """Send until a reply comes. ``most_tokens`` bounds input and output of one call; costs are added to ``spent``.

        Raises:
            GaveUpError: every attempt failed.
            JudgeStoppedError: budget, credentials, or a judge out of reach.
            InputError: the request is wrong.
            Fault: the server refuses the question, or a parameter.
        """
        for attempt in range(1, self.limits.max_attempts + 1):
            self._wait_for_turn()
            try:
                reply = self._once(send, most_tokens, spent)
            except BusyFault as fault:
                last = fault
                if attempt < self.limits.max_attempts:
                    self._put_off(fault, attempt)
            else:
                self._failures = 0
                return reply
        self._failures += 1
        if self._failures >= self.limits.max_failures:
            raise JudgeStoppedError(f"judge {self.judge} can't be reached: {last}; what was answered is stored")
        raise GaveUpError(f"no reply after {self.limits.max_attempts} attempts: {last}")

    def _once(self, send: Callable[[], ChatReply], most_tokens: tuple[int, int], spent: Spent) -> ChatReply:
        most_usd = self.price.of(*most_tokens) if self.price else 0.0
        call = self.ledger.enter(self.judge, most_usd, self.stop)
        spent.calls += 1
        try:
            reply = send()
        except Fault as fault:
            # A call that reached the server may be charged for, though nothing came back that can be used.
            self._settle(call, fault.usage if fault.sent else (0, 0), most_tokens, spent)
            self._give_up_on(fault)
            raise
        self._settle(call, (reply.input_tokens, reply.output_tokens), most_tokens, spent)
        return reply

    def _settle(self, call: Call, told: Usage, most_tokens: tuple[int, int], spent: Spent) -> None:
        """Book a call at the tokens that the server told, and at the most it can have had where it told none."""
        used = [most if count is None else count for count, most in zip(told, most_tokens, strict=True)]
        cost_usd = self.price.of(*used) if self.price else 0.0
        self.ledger.settle(call, cost_usd, sum(used))
        spent.input_tokens += used[0]
        spent.output_tokens += used[1]
        spent.cost_usd += cost_usd

    def _give_up_on(self, fault: Fault) -> None:
        if isinstance(fault, DeniedFault):
            raise JudgeStoppedError(f"judge {self.judge}: {fault}{self.key_hint}") from None
        if isinstance(fault, RejectedFault):
            raise InputError(f"judge {self.judge}: {fault}; check its name and --judge-base-url") from None

    def _put_off(self, fault: BusyFault, attempt: int) -> None:
        with self._lock:
            step_s = min(_LONGEST_STEP_S, 2.0 ** (attempt - 1)) * self._chance.uniform(0.75, 1.25)
            wait_s = max(step_s, fault.retry_after_s or 0.0)
            if wait_s > self.limits.max_wait_s:
                raise JudgeStoppedError(
                    f"judge {self.judge}: {fault}; it asks to wait {wait_s:.0f} s, longer than label.max_wait_s; "
                    "go on later"
                ) from None
            until = self.clock() + wait_s
            if until > self._not_before:
                self._not_before = until
                logger.warning(
                    "judge %s: %s; waiting %.1f s (attempt %d of %d)",
                    self.judge, fault, wait_s, attempt, self.limits.max_attempts,
                )  # fmt: skip

    def _wait_for_turn(self) -> None:
        while (left_s := self._not_before - self.clock()) > 0:
            if self.stop.wait(min(left_s, 1.0)):
                break
        if self.stop.is_set():
            raise JudgeStoppedError(f"judge {self.judge}: stopped")
