"""Reading what may not be there: a value, or the reason in words why there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import polars as pl

from cotlens.errors import CotlensError
from cotlens.report.figure import NothingToShow

__all__ = ["Attempt", "attempt"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """Either ``value``, or the ``reason`` why it could not be read."""

    value: T | None
    reason: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.reason)


def attempt(read: Callable[[], T]) -> Attempt[T]:
    """Whatever a damaged file makes a reader raise becomes a reason to show, never an error of the server."""
    try:
        return Attempt(read())
    except CotlensError as error:
        return Attempt(None, str(error))
    except NothingToShow as reason:
        return Attempt(None, str(reason))
    except (Exception, pl.exceptions.PanicException) as error:
        logger.debug("explorer: can't be read", exc_info=True)
        first = (str(error).splitlines() or [""])[0]
        return Attempt(None, f"can't be read: {type(error).__name__}: {first}"[:300])
