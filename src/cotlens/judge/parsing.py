"""Replies are read strictly: one JSON object with the keys that were asked for, or no verdict at all.

No default verdict, no search for a "yes" in the text: what a judge did not say in the form agreed is not known.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

from cotlens.judge.prompt import Prompt

__all__ = ["Answer", "UnparsedError", "parse_reply"]


class Answer(NamedTuple):
    """What a reply says; the fields that its question has no use for are None."""

    verdict: bool | None
    answer: str | tuple[tuple[str, ...], ...] | None
    reason: str
    confidence: float | None


class UnparsedError(Exception):
    """A reply in another form; the message says what is wrong, for the judge to mend."""


def parse_reply(raw: str, prompt: Prompt) -> Answer:
    """Read the reply to ``prompt``.

    Raises:
        UnparsedError: it is not one JSON object of the form asked for, or it answers another question.
    """
    reply = _load(raw)
    expected = set(prompt.schema["properties"])
    if set(reply) != expected:
        raise UnparsedError(f"its keys must be {', '.join(sorted(expected))}")
    if reply["id"] != prompt.id:
        raise UnparsedError("its id is that of another question")
    if prompt.form == "merge":
        return Answer(None, _groups(reply["groups"], prompt.names), "", None)
    confidence = reply["confidence"]
    if not isinstance(reply["reason"], str):
        raise UnparsedError("the reason must be text")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise UnparsedError("the confidence must be a number from 0 to 1")
    if prompt.form == "naming":
        name = reply["name"]
        if not isinstance(name, str) or not name.strip() or len(name) > 80:
            raise UnparsedError("the name must be a short text")
        return Answer(None, name.strip(), reply["reason"], float(confidence))
    if reply["verdict"] not in ("yes", "no"):
        raise UnparsedError('the verdict must be "yes" or "no"')
    return Answer(reply["verdict"] == "yes", None, reply["reason"], float(confidence))


def _load(raw: str) -> dict[str, Any]:
    try:
        reply = json.loads(raw, object_pairs_hook=_no_repeats, parse_constant=_no_constants)
    except (ValueError, RecursionError):
        raise UnparsedError("it is not one JSON object") from None
    if not isinstance(reply, dict):
        raise UnparsedError("it is not one JSON object")
    return reply


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise UnparsedError("a key stands there twice")
    return dict(pairs)


def _no_constants(name: str) -> NoReturn:
    raise UnparsedError(f"{name} is not a number")


def _groups(groups: Any, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    if not isinstance(groups, list) or not all(isinstance(group, list) and group for group in groups):
        raise UnparsedError("the groups must be lists of names")
    said = [name for group in groups for name in group]
    if not all(isinstance(name, str) for name in said) or sorted(said) != sorted(names):
        raise UnparsedError("every name must stand in exactly one group")
    return tuple(tuple(group) for group in groups)
