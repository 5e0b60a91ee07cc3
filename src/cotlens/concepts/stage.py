"""The stage ``label``: candidates, controls, judges, and what came of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cotlens.concepts.candidates import signed_tokens
from cotlens.concepts.concept import Concept, load_concepts
from cotlens.concepts.contexts import plan_detection
from cotlens.concepts.naming import NONE, as_verdicts, concept_id, merge_names
from cotlens.concepts.plan import plan_concepts, plan_naming, shuffled_order
from cotlens.concepts.reliability import Replies, Scale, reliability
from cotlens.judge.answering import Desk
from cotlens.judge.book import Asked, Book, Record
from cotlens.judge.cache import ReplyCache, reply_folder
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.protocol import Judge
from cotlens.judge.registry import LocalJudge, Means, make_judge
from cotlens.store import Run, RunWriter
from cotlens.types import Progress, SignedNeuron

__all__ = ["CALLS", "JUDGEMENTS", "Unanswered", "label_stage", "planned"]

JUDGEMENTS, CALLS = "judgements.jsonl", "calls.jsonl"

_LABELS = {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8, "concept": pl.String}

logger = logging.getLogger(__name__)


class Unanswered(NamedTuple):
    """Questions without a reply: ``passing`` may get one when they are asked again, ``lasting`` never will;
    ``reason`` is that of the first of these."""

    passing: int
    lasting: int
    reason: str


@dataclass
class _Office:
    """The judges of a run at work, the deciding one first. ``records`` are the replies to all that was asked."""

    desk: Desk
    ledger: Ledger
    judges: Sequence[Judge]
    seed: int
    replies: dict[str, list[tuple[Asked, Record]]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def close(self) -> None:
        self.desk.book.close()
        self.ledger.close()
        for judge in self.judges:
            judge.close()

    def ask(self, judge: Judge, questions: Sequence[Asked]) -> list[Record]:
        """The replies, in the order of ``questions``; they are asked in a random one."""
        order = shuffled_order(range(len(questions)), self.seed)
        records = self.desk.answer(judge, [questions[place] for place in order])
        self.records += records
        found = dict(zip(order, records, strict=True))
        return [found[place] for place in range(len(questions))]

    def unanswered(self) -> Unanswered:
        failed = [record for record in self.records if record["status"] == "failed"]
        lasting = [record["reason"] for record in failed if record.get("lasting")]
        return Unanswered(len(failed) - len(lasting), len(lasting), lasting[0] if lasting else "")


def label_stage(
    run: RunWriter, progress: Progress, local: LocalJudge | None = None, ask_again: bool = False
) -> Unanswered:
    """Write ``judgements.jsonl``, ``concepts.parquet``, the reasoning neurons of the run, and ``reliability.parquet``.

    A neuron is judged for each sign with which it was found active, by the tokens that it promotes with that sign:
    the top of its projection when the coefficient is positive, the bottom when it is negative. The first judge decides.

    Args:
        run: the run.
        progress: told how far it is.
        local: makes the judge that is a model on this machine.
        ask_again: ask anew what a judge refused, or answered so that it can't be read.

    Returns:
        The questions that have no reply because calls failed, or the judge can't take them.

    Raises:
        JudgeStoppedError: a judge can't go on; everything answered is stored.
    """
    concepts = load_concepts(run.config.label.concepts)
    questions = planned(run, concepts)
    _release(run)
    office = _open_office(run, progress, local, ask_again)
    try:
        progress.begin("label", len(questions) * len(office.judges))
        for judge in office.judges:
            office.replies[judge.name] = list(zip(questions, office.ask(judge, questions), strict=True))
        if run.config.label.mode == "open":
            _name(office, progress)
        labels = _labels(office.replies[office.judges[0].name])
        _detect(run, office, concepts, labels, progress)
    finally:
        office.close()
    _record(run, office, concepts, labels)
    return office.unanswered()


def planned(run: Run, concepts: Sequence[Concept]) -> list[Asked]:
    """The questions that every judge of the run is asked."""
    config, signed = run.config.label, signed_tokens(run)
    if config.mode == "open":
        return plan_naming(signed, config, run.config.seed)
    return plan_concepts(signed, concepts, config, run.config.seed)


def _release(run: RunWriter) -> None:
    """The files that are appended to have no checksum while that goes on; a crash must not make them look damaged."""
    parts = run.manifest.stages["label"].parts
    for name in (JUDGEMENTS, CALLS):
        parts.pop(name, None)
    run.save_manifest()


def _open_office(run: Run, progress: Progress, local: LocalJudge | None, ask_again: bool) -> _Office:
    config, stop = run.config.label, Stop()
    ledger = Ledger(run.path / CALLS, config.max_cost_usd, config.max_calls)
    judges = [make_judge(name, config, Means(ledger, stop, local)) for name in config.judges]
    cache = ReplyCache(None if ask_again else reply_folder())
    desk = Desk(Book(run.path / JUDGEMENTS, ask_again), cache, stop, config.concurrency, progress)
    return _Office(desk, ledger, judges, run.config.seed)


def _name(office: _Office, progress: Progress) -> None:
    """Give each reply the name that stands for the one in it, in all judges' replies by the grouping of the first."""
    deciding = office.judges[0]

    def ask(questions: Sequence[Asked]) -> list[Record]:
        progress.begin("label", len(questions))
        records = office.ask(deciding, questions)
        for record in records:
            if record["status"] != "ok":
                logger.warning(
                    "judge %s did not group names that may mean the same, so they stay apart: %s",
                    deciding.name, record["reason"],
                )  # fmt: skip
        return records

    names = [
        [record["answer"] for asked, record in own if record["status"] == "ok" and asked.kind in ("label", "retest")]
        for own in office.replies.values()
    ]
    merged = merge_names(names, ask)
    for judge, own in office.replies.items():
        named = as_verdicts([record for _, record in own], merged)
        office.replies[judge] = [(asked, record) for (asked, _), record in zip(own, named, strict=True)]


def _labels(replies: Replies) -> list[tuple[SignedNeuron, str]]:
    """Neurons and concepts that the judge confirmed, or named."""
    return [
        (asked.neuron, asked.question.concept or concept_id(record.get("named") or NONE))
        for asked, record in replies
        if asked.kind == "label" and record["verdict"] and asked.neuron
    ]


def _detect(
    run: Run,
    office: _Office,
    concepts: Sequence[Concept],
    labels: Sequence[tuple[SignedNeuron, str]],
    progress: Progress,
) -> None:
    """Have some of the labels checked by texts, by every judge that reads texts."""
    config = run.config.label
    if not config.detection:
        return
    known = {concept.id: concept for concept in concepts}
    labelled = [
        (neuron, known.get(concept) or Concept(concept, concept, frozenset(), frozenset(), ""))
        for neuron, concept in labels
    ]
    questions = plan_detection(run, labelled, config.detection, config.detection_contexts, run.config.seed)
    for judge in office.judges:
        if "detection" in judge.forms:
            progress.begin("label", len(questions))
            office.replies[judge.name] += zip(questions, office.ask(judge, questions), strict=True)


def _record(
    run: RunWriter, office: _Office, concepts: Sequence[Concept], labels: Sequence[tuple[SignedNeuron, str]]
) -> None:
    analyze, config = run.config.analyze, run.config.label
    run.record_file("label", JUDGEMENTS, rows=office.desk.book.rows)
    if Path(run.path / CALLS).exists():
        run.record_file("label", CALLS)
    rows = [(neuron.layer, neuron.neuron, neuron.sign, concept) for neuron, concept in labels]
    run.add_frame("label", "concepts.parquet", pl.DataFrame(rows, schema=_LABELS, orient="row"))
    named = [] if config.mode == "open" else [concept.id for concept in concepts]
    scale = Scale(analyze.confidence, analyze.bootstrap, run.config.seed)
    run.add_frame("label", "reliability.parquet", reliability(office.replies, named, scale))
