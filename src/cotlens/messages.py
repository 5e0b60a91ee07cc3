"""Messages for people, on their way to a terminal: what other machines, files and models say is shown, and can't act.

Every error, traceback and log line goes through `presentable`: keys and passwords are gone, and control characters,
direction marks and the like stand there as escapes.
"""

from __future__ import annotations

import logging

from cotlens.credentials import redact
from cotlens.redaction import hide_user_info
from cotlens.tokens import printable

__all__ = ["PresentableFormatter", "presentable"]


def presentable(text: str) -> str:
    """``text`` without secrets, and without characters that a terminal would act on; line breaks stay."""
    return printable(redact(hide_user_info(text)))


class PresentableFormatter(logging.Formatter):
    """Formats log records, tracebacks included, so that they can be shown."""

    def format(self, record: logging.LogRecord) -> str:
        return presentable(super().format(record))
