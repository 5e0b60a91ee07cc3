"""Where a judge's server is, and the key to it: as given, or from the environment."""

from __future__ import annotations

import os

from cotlens.config import LabelConfig
from cotlens.credentials import clean_url, keep_secret
from cotlens.errors import ConfigError, JudgeStoppedError

__all__ = ["api_version", "base_url", "find_key", "give_key", "given_key", "optional_key"]

_FLAG = "--judge-api-key"

_given: dict[str, str] = {}


def give_key(key: str) -> None:
    """Use ``key`` for the judge behind a server, whatever the environment says."""
    _given["key"] = keep_secret(key)


def given_key() -> bool:
    """Whether `give_key` was called."""
    return "key" in _given


def base_url(name: str, settings: LabelConfig, variable: str) -> str | None:
    """The server's URL: as set for this judge, or for all, or in the environment; None for the provider's own."""
    given = settings.base_url
    url = given.get(name) if isinstance(given, dict) else given
    if url is None and (found := os.environ.get(variable)):
        try:
            return clean_url(found)
        except ValueError as error:
            raise ConfigError(f"{variable}: {error}") from None
    return url


def api_version(settings: LabelConfig) -> str | None:
    """Azure's API version."""
    return settings.api_version or os.environ.get("OPENAI_API_VERSION")


def optional_key(variable: str) -> str:
    """The key, or what servers without one are sent.

    Raises:
        JudgeStoppedError: it can't be one.
    """
    return _key(variable) or "no-key"


def find_key(name: str, variable: str) -> str:
    """The key of the judge ``name``.

    Raises:
        JudgeStoppedError: it is not set, or can't be one.
    """
    if key := _key(variable):
        return key
    raise JudgeStoppedError(
        f"judge {name} needs a key: export {variable}=..., then run the same command again; "
        "--judge lexicon and hf/MODEL need none"
    )


def _key(variable: str) -> str:
    source = _FLAG if given_key() else variable
    key = keep_secret(_given.get("key") or os.environ.get(variable) or "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise JudgeStoppedError(f"{source} holds characters that no key has: copy it again")
    return keep_secret(key)
