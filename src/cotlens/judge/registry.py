"""Judges by name. A new one is a class that answers questions, and one entry here."""

from __future__ import annotations

from collections.abc import Callable

from cotlens.errors import InputError, near_match
from cotlens.judge.lexicon import LexiconJudge
from cotlens.judge.protocol import Judge

__all__ = ["JUDGES", "make_judge"]

JUDGES: dict[str, Callable[[], Judge]] = {"lexicon": LexiconJudge}


def make_judge(name: str) -> Judge:
    """The judge called ``name``.

    Raises:
        InputError: no judge has that name.
    """
    if name not in JUDGES:
        raise InputError(f"judge {name!r} is not known{near_match(name, JUDGES)}")
    return JUDGES[name]()
