"""Replies kept for other runs, one file each, under the hash of all that the reply depends on.

Files, not a database, so that it also works on network file systems and with several processes. Only verdicts are
kept: a refusal is no answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cotlens.errors import EnvironmentFault
from cotlens.files import cache_folder, write_atomic
from cotlens.judge.protocol import Judgement

__all__ = ["ReplyCache", "judgement_from", "reply_folder"]


def reply_folder() -> Path:
    """Where replies are kept."""
    return cache_folder() / "judgements"


class ReplyCache:
    """Replies by identity. Without a ``folder`` nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, identity: str) -> Judgement | None:
        """The reply stored under ``identity``; None if there is none, or its file is damaged."""
        if self._folder is None:
            return None
        try:
            stored = json.loads(self._path(self._folder, identity).read_text(encoding="utf-8"))
            if stored.pop("identity") != identity:
                return None
            return judgement_from(stored)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, identity: str, judgement: Judgement) -> None:
        """Keep a reply, if it is a verdict or an answer."""
        if self._folder is None or judgement.status != "ok":
            return
        path = self._path(self._folder, identity)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(asdict(judgement) | {"identity": identity}).encode())
        except (OSError, EnvironmentFault):
            return  # the run directory has the reply; the cache is a convenience

    @staticmethod
    def _path(folder: Path, identity: str) -> Path:
        return folder / identity[:2] / f"{identity}.json"


def judgement_from(stored: dict[str, object]) -> Judgement:
    """A `Judgement` from its fields as JSON gives them back."""
    fields = {name: stored[name] for name in Judgement.__dataclass_fields__ if name in stored}
    answer = fields.get("answer")
    if isinstance(answer, list):
        fields["answer"] = tuple(tuple(group) for group in answer)
    fields["adapted"] = tuple(fields.get("adapted") or ())  # type: ignore[arg-type]
    return Judgement(**fields)  # type: ignore[arg-type]
