"""Where a judge's server is, and the key to it: as given, or from the environment."""

from __future__ import annotations

import os

from cotlens.config import LabelConfig
from cotlens.credentials import clean_url, keep_secret
from cotlens.errors import ConfigError, JudgeStoppedError

__all__ = ["api_version", "base_url", "find_key", "give_key", "needs_no_key", "optional_key"]

_URLS = {"openai": "OPENAI_BASE_URL", "azure": "AZURE_OPENAI_ENDPOINT", "anthropic": "ANTHROPIC_BASE_URL"}

_given: dict[str, str] = {}


def give_key(key: str) -> None:
    """Use ``key`` for every judge behind a server, whatever the environment says."""
    _given["key"] = keep_secret(key)


def base_url(name: str, settings: LabelConfig) -> str | None:
    """The server's URL: as set for this judge, or for all, or in the environment; None for the provider's own."""
    given = settings.base_url
    url = given.get(name) if isinstance(given, dict) else given
    variable = _URLS.get(name.partition("/")[0], "")
    if url is None and (found := os.environ.get(variable)):
        try:
            return clean_url(found)
        except ValueError as error:
            raise ConfigError(f"{variable}: {error}") from None
    return url


def api_version(settings: LabelConfig) -> str | None:
    """Azure's API version."""
    return settings.api_version or os.environ.get("OPENAI_API_VERSION")


def needs_no_key(name: str, settings: LabelConfig) -> bool:
    """Servers of one's own mostly ask for none."""
    return not name.startswith("azure/") and base_url(name, settings) is not None


def optional_key(variable: str) -> str:
    """The key, or what servers without one are sent."""
    return _given.get("key") or keep_secret(os.environ.get(variable) or "") or "no-key"


def find_key(name: str, variable: str) -> str:
    """The key of the judge ``name``.

    Raises:
        JudgeStoppedError: it is not set.
    """
    key = _given.get("key") or os.environ.get(variable)
    if not key:
        raise JudgeStoppedError(
            f"judge {name} needs a key: export {variable}=..., then run the same command again; "
            "--judge lexicon and hf/MODEL need none"
        )
    return keep_secret(key)
