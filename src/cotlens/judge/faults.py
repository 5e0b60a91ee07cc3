"""What can go wrong with a request, sorted by what has to be done about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cotlens.credentials import redact

__all__ = [
    "BusyFault",
    "DeniedFault",
    "Fault",
    "RefusedFault",
    "RejectedFault",
    "UnsupportedFault",
    "fault_of_body",
    "fault_of_status",
]

_LONGEST = 300
_MONEY = re.compile(r"insufficient_quota|billing|credit balance|payment|spend(ing)? limit|hard_limit", re.IGNORECASE)
_FILTERED = re.compile(r"content_filter|content management policy|ResponsibleAIPolicyViolation", re.IGNORECASE)
_PARAMETERS = {
    "max_completion_tokens": "max_completion_tokens",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "response_format": "response_format",
    "json_schema": "response_format",
    "output_config": "response_format",
    "structured output": "response_format",
}
_TRANSIENT = frozenset({408, 409, 425, 429})


class Fault(Exception):  # noqa: N818 (these are kinds of faults; the errors of a user's concern are in cotlens.errors)
    """``sent`` tells whether the server may have done the work, and charge for it."""

    sent = False

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class BusyFault(Fault):
    """Try again, after ``retry_after_s`` where the server says so."""

    def __init__(self, message: str, retry_after_s: float | None = None, sent: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.sent = sent


class DeniedFault(Fault):
    """No key, a wrong one, or no money on the account: no request will succeed."""


class RefusedFault(Fault):
    """The server won't answer this question; others it may."""


class UnsupportedFault(Fault):
    """The server does not take ``parameter``."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class RejectedFault(Fault):
    """The request itself is wrong: no such model, no such path."""


def fault_of_status(status: int, headers: Mapping[str, str], body: str) -> Fault:
    """The fault that an HTTP status other than success means."""
    error = _error(body)
    what = f"{status}: {_words(error, body)}"
    if status in (401, 402, 403) or _MONEY.search(_code(error)) or (status in (400, 429) and _MONEY.search(what)):
        return DeniedFault(what)
    if status in _TRANSIENT or status >= 500:
        return BusyFault(what, retry_after_s=_retry_after(headers))
    if status == 400 and _FILTERED.search(body):
        return RefusedFault(what)
    if status in (400, 422) and (parameter := _parameter(error, what)):
        return UnsupportedFault(what, parameter)
    return RejectedFault(what)


def fault_of_body(body: str) -> Fault:
    """The fault behind a success without a reply in it: a page of a proxy, or an error in a success's clothes."""
    error = _error(body)
    what = f"no reply in the response: {_words(error, body)}"
    if error and _MONEY.search(f"{_code(error)} {what}"):
        return DeniedFault(what)
    return BusyFault(what, sent=not error)


def _error(body: str) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    if isinstance(data, list) and data:
        data = data[0]
    found = data.get("error", data) if isinstance(data, dict) else {}
    if isinstance(found, str):
        return {"message": found}
    return found if isinstance(found, dict) else {}


def _code(error: Mapping[str, Any]) -> str:
    return f"{error.get('code') or ''} {error.get('type') or ''}"


def _words(error: Mapping[str, Any], body: str) -> str:
    message = error.get("message") or re.sub(r"<[^>]*>", " ", body)
    text = " ".join(str(message).split())
    return (text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…") or "an empty response"


def _parameter(error: Mapping[str, Any], what: str) -> str | None:
    named = str(error.get("param") or "").partition(".")[0]
    if named in _PARAMETERS:
        return _PARAMETERS[named]
    return next((known for word, known in _PARAMETERS.items() if word in what), None)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server wants to be asked again; the longest that it states."""
    found = []
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            found.append(max(0.0, float(headers.get(name, "")) * unit_s))
        except ValueError:
            continue
    return max(found) if found else _until_date(headers.get("retry-after", ""))


def _until_date(text: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
