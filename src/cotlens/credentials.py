"""Keys and passwords: held in memory, never written anywhere, and taken out of every text that leaves the process.

A server may echo a key in its error message, whole or in part, and so may a model in its reply. What was given to
`keep_secret` is replaced wherever `redact` is called: for log lines, errors, tracebacks, stored replies.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

__all__ = [
    "HIDDEN",
    "clean_url",
    "keep_environment",
    "keep_secret",
    "redact",
    "redact_data",
    "user_info",
]

#: What stands in a text in place of a secret.
HIDDEN = "[hidden]"
#: A part of a secret that is at least so long is hidden too.
_FRAGMENT = 8
#: What is shorter is no secret, and would make a hole in many a text.
_SHORTEST = 6
#: What servers on one's own machine are given where they ask for any key at all.
_PLACEHOLDERS = frozenset({"EMPTY", "ollama", "lm-studio", "not-needed", "no-key", "local"})

#: Where users keep keys; what stands there is hidden whether or not it is used.
_VARIABLES = (
    "OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip

_whole: set[str] = set()
_fragments: set[str] = set()
_user_info: dict[str, str] = {}


def keep_secret(secret: str) -> str:
    """Hide ``secret`` from now on, in the forms in which it may come back; returns it."""
    if len(secret) >= _SHORTEST and secret not in _PLACEHOLDERS:
        for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], _base64(secret), _base64(f":{secret}")}:
            _whole.add(form)
            if len(form) > _FRAGMENT:
                _fragments.update(form[i : i + _FRAGMENT] for i in range(len(form) - _FRAGMENT + 1))
    return secret


def keep_environment() -> None:
    """Hide the keys that the environment holds."""
    for name in _VARIABLES:
        keep_secret(os.environ.get(name) or "")


def redact(text: str) -> str:
    """``text`` with every kept secret, and every longer piece of one, replaced."""
    for secret in sorted(_whole, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if not _fragments:
        return text
    shown, place, until = [], 0, 0
    for place in range(len(text)):
        if text[place : place + _FRAGMENT] in _fragments:
            if place >= until:
                shown.append(HIDDEN)
            until = place + _FRAGMENT
        if place >= until:
            shown.append(text[place])
    return "".join(shown)


def redact_data(value: Any) -> Any:
    """`redact` for every text within lists and dicts."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact_data(key): redact_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_data(item) for item in value]
    return value


def clean_url(url: str) -> str:
    """``url`` without the user name and password in it, which are kept for `user_info`.

    Raises:
        ValueError: not an ``http`` or ``https`` URL, or one with a query; the message holds no part of it.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        keep_secret(parts.netloc.rpartition("@")[0])
        for part in (parts.username, parts.password):
            keep_secret(unquote(part or ""))
    if parts.query:
        for field in parts.query.split("&"):
            keep_secret(field.partition("=")[2])
        raise ValueError("write the URL without a query; give a key by environment variable")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL such as http://localhost:8000/v1")
    netloc = parts.netloc.rpartition("@")[2]
    clean = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
    if parts.username or parts.password:
        _user_info[clean] = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        keep_secret(_base64(_user_info[clean]))
    return clean


def user_info(url: str) -> str | None:
    """``user:password`` that was given with ``url``, if any was, in this process."""
    return _user_info.get(url)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
