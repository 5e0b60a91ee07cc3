"""How far a judge can be trusted, from its answers to questions whose right answer is known, or was given before.

One row per measure, with the numbers that it is made of:

- ``random``, ``shuffled``: share of yes where the right answer is no, the false-positive rate, by kind of control;
- ``retest``: share of questions with the same answer when asked again; ``retest_kappa``: the same beyond chance;
- ``agreement``, ``kappa``: of two judges on the candidates; in open labelling, as for a retest, of the names, those
  that mean the same taken as one;
- ``yield``: share of a concept's candidates that are confirmed;
- ``answered``: share of all questions that got a verdict; the others are in no other row;
- ``sensitivity``, ``specificity``: share of texts with the labelled neuron active, and without, that were told so.

Shares have Wilson's interval, kappa a bootstrap interval over neurons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from cotlens.analyze.statistics import wilson
from cotlens.concepts.kappa import cohens_kappa
from cotlens.judge.book import Asked, Record

__all__ = ["ALL", "Replies", "Scale", "reliability"]

#: In place of a concept: all of them together.
ALL = "all"

Replies = Sequence[tuple[Asked, Record]]
_Row = dict[str, Any]
_Pair = tuple[Hashable, Hashable, Hashable]

_SCHEMA: dict[str, type[pl.DataType]] = {
    "measure": pl.String, "judge": pl.String, "other": pl.String, "concept": pl.String, "count": pl.Int64,
    "total": pl.Int64, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """Level of the intervals; resamples and seed of the bootstrap."""

    confidence: float
    resamples: int
    seed: int


def reliability(replies: Mapping[str, Replies], concepts: Sequence[str], scale: Scale) -> pl.DataFrame:
    """The measures of each judge, and of each pair; ``replies`` by judge, ``concepts`` by id.

    Returns:
        Columns ``measure``, ``judge``, ``other`` (of a pair), ``concept``, ``count`` of ``total``, ``value``, ``low``
        and ``high``; NaN where there is nothing to measure.
    """
    rows: list[_Row] = []
    for judge, own in replies.items():
        rows += _of_one(judge, own, concepts, scale)
    for (first, own), (second, others) in combinations(replies.items(), 2):
        rows += _of_two(first, own, second, others, concepts, scale)
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _of_one(judge: str, replies: Replies, concepts: Sequence[str], scale: Scale) -> list[_Row]:
    rows = [_share("answered", judge, [record["status"] == "ok" for _, record in replies], scale)]
    answered = _by_kind(replies)
    for concept in (*concepts, ALL):
        rows.append(_share("yield", judge, _verdicts(answered["label"], concept), scale, concept))
    for kind in ("random", "shuffled"):
        rows += [
            _share(kind, judge, _verdicts(answered[kind], concept), scale, concept) for concept in (*concepts, ALL)
        ]
    rows += _retest(judge, answered, scale)
    if answered["detection"]:
        told = [(asked.expected, record["verdict"]) for asked, record in answered["detection"]]
        rows.append(_share("sensitivity", judge, [verdict for right, verdict in told if right], scale))
        rows.append(_share("specificity", judge, [not verdict for right, verdict in told if not right], scale))
    return rows


def _retest(judge: str, answered: Mapping[str, Replies], scale: Scale) -> list[_Row]:
    before = {(asked.neuron, asked.question.concept): _said(record) for asked, record in answered["label"]}
    pairs: list[_Pair] = [
        (asked.neuron, before[asked.neuron, asked.question.concept], _said(record))
        for asked, record in answered["retest"]
        if (asked.neuron, asked.question.concept) in before
    ]
    return [
        _share("retest", judge, [first == second for _, first, second in pairs], scale),
        _kappa("retest_kappa", judge, pairs, scale),
    ]


def _of_two(
    first: str, own: Replies, second: str, others: Replies, concepts: Sequence[str], scale: Scale
) -> list[_Row]:
    told = {(asked.neuron, asked.question.concept): _said(record) for asked, record in _by_kind(others)["label"]}
    pairs: dict[str, list[_Pair]] = defaultdict(list)
    for asked, record in _by_kind(own)["label"]:
        concept = asked.question.concept
        if (asked.neuron, concept) in told:
            pair = (asked.neuron, _said(record), told[asked.neuron, concept])
            pairs[concept].append(pair)
            pairs[ALL].append(pair)
    rows = []
    for concept in (*concepts, ALL):
        rows.append(_share("agreement", first, [a == b for _, a, b in pairs[concept]], scale, concept, second))
        rows.append(_kappa("kappa", first, pairs[concept], scale, concept, second))
    return rows


def _by_kind(replies: Replies) -> dict[str, list[tuple[Asked, Record]]]:
    """The replies with a verdict by kind of question; what got none is left out."""
    answered: dict[str, list[tuple[Asked, Record]]] = defaultdict(list)
    for asked, record in replies:
        if record["verdict"] is not None:
            answered[asked.kind].append((asked, record))
    return answered


def _said(record: Record) -> Hashable:
    """What a reply is compared by: its verdict, or in open labelling the name that it gave."""
    said: Hashable = record.get("named", record["verdict"])
    return said


def _verdicts(replies: Replies, concept: str) -> list[bool]:
    return [record["verdict"] for asked, record in replies if concept in (ALL, asked.question.concept)]


def _share(
    measure: str, judge: str, answers: Sequence[bool], scale: Scale, concept: str = ALL, other: str = ""
) -> _Row:
    low, high = wilson(sum(answers), len(answers), scale.confidence)
    value = sum(answers) / len(answers) if answers else float("nan")
    return _row(measure, judge, other, concept, sum(answers), len(answers), value, low, high)


def _kappa(measure: str, judge: str, pairs: Sequence[_Pair], scale: Scale, concept: str = ALL, other: str = "") -> _Row:
    neurons, first, second = [p[0] for p in pairs], [p[1] for p in pairs], [p[2] for p in pairs]
    found = cohens_kappa(first, second, neurons, scale.resamples, scale.confidence, scale.seed)
    same = sum(one == two for one, two in zip(first, second, strict=True))
    return _row(measure, judge, other, concept, same, len(pairs), *found)


def _row(*values: object) -> _Row:
    return dict(zip(_SCHEMA, values, strict=True))
