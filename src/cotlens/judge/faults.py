"""What can go wrong with a request, sorted by what has to be done about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cotlens.credentials import HIDDEN, redact

__all__ = [
    "BusyFault",
    "DeniedFault",
    "Fault",
    "RefusedFault",
    "RejectedFault",
    "UnsupportedFault",
    "Usage",
    "fault_of_body",
    "fault_of_status",
    "usage_of",
]

_LONGEST = 300
#: Codes and types of errors that say: no money. Every other that is not vague says: something else.
_NO_MONEY = re.compile(
    r"quota|billing|hard_limit|spend|payment|credit|insufficient_(balance|funds)|account_deactivated"
)
_VAGUE = re.compile(r"|\d+|none|null|error|(invalid_request|api|bad_request)(_error)?")
#: Words that say so where there is no code.
_MONEY = re.compile(r"insufficient_quota|billing|credit balance|payment|spend(ing)? limit|hard_limit", re.IGNORECASE)
_FILTERED = re.compile(r"content_filter|content management policy|ResponsibleAIPolicyViolation", re.IGNORECASE)
#: Words by which a refused parameter is known; a limit goes by one of two names, and either refusal means the other.
_PARAMETERS = {
    "max_completion_tokens": "limit",
    "max_tokens": "limit",
    "temperature": "temperature",
    "response_format": "response_format",
    "json_schema": "response_format",
    "output_config": "response_format",
    "structured output": "response_format",
}
_TRANSIENT = frozenset({408, 409, 425, 429})
#: A proxy that gave up waiting: the server behind it may have done the work.
_GAVE_UP = frozenset({408, 499, 502, 504, 520, 522, 524})
#: How servers show a key without showing it: its first and last letters, and stars.
_MASKED = re.compile(r"[\w.-]*\*{3,}[\w.*-]*")

Usage = tuple[int | None, int | None]


class Fault(Exception):  # noqa: N818 (these are kinds of faults; the errors of a user's concern are in cotlens.errors)
    """``sent`` tells whether the server may have done the work, and charge for it; ``usage`` is the tokens in and out
    that it told, None where it did not."""

    def __init__(self, message: str, sent: bool = False, usage: Usage = (None, None)) -> None:
        super().__init__(redact(message))
        self.sent, self.usage = sent, usage


class BusyFault(Fault):
    """Try again, after ``retry_after_s`` where the server says so."""

    def __init__(
        self, message: str, retry_after_s: float | None = None, sent: bool = False, usage: Usage = (None, None)
    ) -> None:
        super().__init__(message, sent, usage)
        self.retry_after_s = retry_after_s


class DeniedFault(Fault):
    """No key, a wrong one, or no money on the account: no request will succeed."""


class RefusedFault(Fault):
    """The server won't answer this question; others it may."""


class UnsupportedFault(Fault):
    """The server does not take ``parameter``: ``limit`` of the reply's length, ``temperature``, ``response_format``."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class RejectedFault(Fault):
    """The request itself is wrong: no such model, no such path."""


def fault_of_status(status: int, headers: Mapping[str, str], body: str) -> Fault:
    """The fault that an HTTP status other than success means."""
    error, retry_after_s = _error(_parse(body)), _retry_after(headers)
    message = _message(error, body)
    what = f"{status}: {_short(message)}"
    if status in (401, 402, 403) or _is_about_money(error, message if retry_after_s is None else "", status):
        return DeniedFault(what)
    if status in _TRANSIENT or status >= 500:
        return BusyFault(what, retry_after_s, sent=status in _GAVE_UP)
    if status == 400 and _FILTERED.search(body):
        return RefusedFault(what, sent=True)  # some servers charge for what they read before they refuse
    if status in (400, 422) and (parameter := _parameter(error, message)):
        return UnsupportedFault(what, parameter)
    return RejectedFault(what)


def fault_of_body(body: str) -> Fault:
    """The fault behind a success without a reply in it: a page of a proxy, or an error in a success's clothes.

    A success may be charged for, whatever is in it.
    """
    data = _parse(body)
    error = _error(data)
    message = _message(error, body)
    what = f"no reply in the response: {_short(message)}"
    if _is_about_money(error, message if error else ""):
        return DeniedFault(what)
    return BusyFault(what, sent=True, usage=usage_of(data))


def usage_of(data: Any) -> Usage:
    """Tokens in and out that a response tells, in OpenAI's words or Anthropic's; None for what it does not."""
    usage = data.get("usage") if isinstance(data, dict) else None
    if not isinstance(usage, dict):
        return None, None
    sent = usage.get("prompt_tokens", usage.get("input_tokens"))
    written = usage.get("completion_tokens", usage.get("output_tokens"))
    return _count(sent), _count(written)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _parse(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _error(data: Any) -> dict[str, Any]:
    if isinstance(data, list) and data:
        data = data[0]
    found = data.get("error", data) if isinstance(data, dict) else {}
    if isinstance(found, str):
        return {"message": found}
    return found if isinstance(found, dict) else {}


def _is_about_money(error: Mapping[str, Any], message: str, status: int = 400) -> bool:
    """Whether the account has none: by the error's code or type where it has one, by its words where it has not.

    The words alone tell little: a rate limit is often explained by how to pay for a higher one.
    """
    codes = [str(error.get(key) or "").lower() for key in ("code", "type", "status")]
    if any(_NO_MONEY.search(code) for code in codes):
        return True
    return status in (400, 429) and all(map(_VAGUE.fullmatch, codes)) and bool(_MONEY.search(message))


def _message(error: Mapping[str, Any], body: str) -> str:
    """What the server says, on one line, without what it shows of a key."""
    said = error.get("message") or re.sub(r"<[^>]*>", " ", body)
    return _MASKED.sub(HIDDEN, redact(" ".join(str(said).split())))


def _short(message: str) -> str:
    return (message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…") or "an empty response"


def _parameter(error: Mapping[str, Any], message: str) -> str | None:
    """What is refused: as the error names it, else the one that is mentioned first."""
    named = str(error.get("param") or "").partition(".")[0]
    if named in _PARAMETERS:
        return _PARAMETERS[named]
    places = {word: message.find(word) for word in _PARAMETERS if word in message}
    return _PARAMETERS[min(places, key=lambda word: places[word])] if places else None


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
