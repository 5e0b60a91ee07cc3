"""``judgements.jsonl``: every reply, written down as it arrives, and looked up before a judge is asked again."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cotlens.credentials import redact_data
from cotlens.files import content_hash, open_for_appending, read_jsonl
from cotlens.judge.cache import judgement_from
from cotlens.judge.protocol import AnyQuestion, Judge, Judgement
from cotlens.types import SignedNeuron

__all__ = ["Asked", "Book", "Kind", "Record", "reply_identity"]

#: Why a question is asked: for a label, or to learn how far the judge can be trusted.
Kind = Literal["label", "random", "shuffled", "retest", "detection", "merge"]
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the neuron it is about, and why it is asked.

    ``tag`` tells questions of one kind about one neuron apart: the contexts of a detection, the times of a retest.
    ``expected`` is the right answer, where there is one.
    """

    question: AnyQuestion
    kind: Kind
    neuron: SignedNeuron | None = None
    tag: int = 0
    expected: bool | None = None

    @property
    def time(self) -> int:
        """How often the same question was asked before; its reply then is no answer now."""
        return self.tag if self.kind == "retest" else 0


def reply_identity(judge: Judge, asked: Asked) -> str:
    """The hash under which a reply is stored, in the run and in the cache."""
    identity = judge.identity(asked.question)
    return content_hash(identity, asked.time) if asked.time else identity


class Book:
    """The replies of a run. Safe for threads. ``ask_again``: those without a verdict don't count as replies."""

    def __init__(self, path: Path, ask_again: bool = False) -> None:
        known = read_jsonl(path)
        final = {"ok"} if ask_again else {"ok", "refused", "unparsed"}
        self._replies: dict[str, Judgement] = {}
        self._written: dict[str, Record] = {}
        for record in known:
            lasts = record.get("lasting", False) and not ask_again
            if record.get("question_hash") and (lasts or record["status"] in final):
                self._replies[record["question_hash"]] = judgement_from(record)
                self._written[record.get("entry", "")] = record
        self.rows = len(known)
        self._path = path
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None

    def entry(self, judge: Judge, asked: Asked, identity: str) -> Record | None:
        """What is written down for this very question, if it was asked before."""
        return self._written.get(_entry(judge, asked, identity))

    def reply(self, identity: str) -> Judgement | None:
        """The reply to a question of this identity, asked of whichever neuron."""
        return self._replies.get(identity)

    def write(self, judge: Judge, asked: Asked, identity: str, judgement: Judgement, source: str) -> Record:
        """Append a reply; it is on the disk when this returns, if it came from a server.

        ``source`` is ``judge``, or where the reply was found: then it has cost nothing.
        """
        if source != "judge":
            judgement = replace(judgement, tokens=0, input_tokens=0, output_tokens=0, calls=0, cost_usd=0.0)
        neuron = asked.neuron
        record: Record = redact_data(
            {
                "kind": asked.kind,
                "neuron": str(neuron.id) if neuron else None,
                "sign": neuron.sign if neuron else None,
                "concept": asked.question.concept,
                "judge": judge.name,
                **asdict(judgement),
                "source": source,
                "tag": asked.tag,
                "question_hash": identity,
                "entry": _entry(judge, asked, identity),
            }
        )
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            file = self._open()
            file.write(line)
            file.flush()
            if judge.remote:
                os.fsync(file.fileno())
            self.rows += 1
            self._replies[identity] = judgement
            self._written[record["entry"]] = record
        return record

    def close(self) -> None:
        """Leave a complete file behind, an empty one if nothing was asked."""
        file = self._open()
        file.flush()
        os.fsync(file.fileno())
        file.close()

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open_for_appending(self._path)
        return self._file


def _entry(judge: Judge, asked: Asked, identity: str) -> str:
    return content_hash(judge.name, asked.kind, asked.neuron, asked.question.concept, asked.tag, identity)[:16]
