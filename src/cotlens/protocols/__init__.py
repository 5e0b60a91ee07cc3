"""Protocols: whole sets of choices of method, each a YAML file that stands in for the defaults.

A protocol says how a study is made, not on what: model and problems are the run file's to name. Every protocol names
the same settings, so that two files can be read side by side.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from cotlens.errors import ConfigError, near_match
from cotlens.files import parse_yaml

__all__ = ["PROTOCOLS", "protocol_settings", "protocol_text"]

#: By name, in one line.
PROTOCOLS = {
    "default": "the choices of cotlens",
    "rai-yao-2024": "the choices of Rai & Yao (ACL 2024), with code that does what they say",
}


def protocol_text(name: str) -> str:
    """The file of the protocol ``name``, as it is.

    Raises:
        ConfigError: no protocol of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol {name!r} is not known{near_match(name, PROTOCOLS)}")
    return resources.files("cotlens.protocols").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def protocol_settings(name: str) -> dict[str, Any]:
    """Its settings, by section."""
    settings: dict[str, Any] = parse_yaml(protocol_text(name), f"{name}.yaml", ConfigError)
    return settings
