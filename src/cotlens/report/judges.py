"""How far the labels can be trusted: what the judge said where the right answer is no, twice, and beside another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cotlens.concepts.reliability import ALL
from cotlens.report.figure import Table
from cotlens.report.tables import concept_order
from cotlens.report.text import NOTHING, count, decimal, joined, percent, readable, span
from cotlens.store import Run

__all__ = ["JudgeExhibit", "judge_exhibit", "label_replies"]

_MEASURES = {
    "yield": "Candidates confirmed",
    "random": "Yes on random neurons",
    "shuffled": "Yes on shuffled tokens",
    "retest": "Same answer when asked again",
    "sensitivity": "Active texts told",
    "specificity": "Other texts told",
    "answered": "Questions answered",
    "agreement": "Same verdict",
    "kappa": "Cohen’s kappa",
}
#: Where the judge gives names.
_OPEN = {
    "yield": "Neurons named",
    "random": "Random neurons named",
    "shuffled": "Shuffled tokens named",
    "retest": "Same name when asked again",
    "agreement": "Same name",
}


@dataclass(frozen=True, slots=True)
class JudgeExhibit:
    """``judges`` has a row per measure, ``concepts`` one per concept; ``yields`` is shown beside a concept's name."""

    sentences: tuple[str, ...]
    judges: Table
    concepts: Table | None
    yields: dict[str, str]


def judge_exhibit(run: Run) -> JudgeExhibit | None:
    """None for a run without candidates, or one that was labelled before judges were tested."""
    record = run.manifest.stages.get("label")
    if record is None or "reliability.parquet" not in record.parts:
        return None
    found = run.reliability().with_columns(pl.selectors.float().fill_nan(None))
    if found.is_empty():
        return None
    rows, deciding, named = found.to_dicts(), run.config.label.judge, run.config.label.mode == "open"
    yields = {row["concept"]: row for row in rows if row["measure"] == "yield" and row["judge"] == deciding}
    return JudgeExhibit(
        sentences=(_asked(yields[ALL], named), _false_positives(rows, deciding, named), _paid(run)),
        judges=Table(("Judge", "Measure", "Count", "Of", "Value", "Interval"), _judge_rows(rows, named), names=2),
        concepts=_concept_table(rows, yields, deciding) if len(yields) > 1 else None,
        yields={readable(name, 40): _yield(row) for name, row in yields.items() if name != ALL},
    )


def label_replies(run: Run) -> list[dict[str, Any]]:
    """The replies on which labels rest: the deciding judge's, about the neurons themselves.

    Replies about concepts of an earlier labelling stay in the file, and are left out.
    """
    deciding, concepts = run.config.label.judge, _concepts(run)
    return [
        reply
        for reply in run.judgements()
        if reply.get("kind", "label") == "label"
        and reply.get("judge", deciding) == deciding
        and (concepts is None or reply["concept"] in concepts)
    ]


def _concepts(run: Run) -> set[str] | None:
    """What the judge was asked for, the empty name in open labelling; None where that was not recorded."""
    record = run.manifest.stages.get("label")
    if record is None or "reliability.parquet" not in record.parts:
        return None
    if run.config.label.mode == "open":
        return {""}
    return set(run.reliability().filter(pl.col("concept") != ALL, measure="yield")["concept"])


def _asked(row: dict[str, Any], named: bool) -> str:
    if named:
        return (
            f"Of {count(row['total'], 'signed neuron')} about which the judge replied, it named a concept for "
            f"{count(row['count'])} ({span(row['low'], row['high'])})."
        )
    return (
        f"Of {count(row['total'], 'question')} about a signed neuron and a concept that got a verdict, "
        f"{count(row['count'])} were answered yes ({span(row['low'], row['high'])})."
    )


def _false_positives(rows: Sequence[dict[str, Any]], judge: str, named: bool) -> str:
    told = [
        f"{row['count']:,} of {row['total']:,} about {what} ({percent(row['value'])}, interval "
        f"{span(row['low'], row['high'])})"
        for row in rows
        for kind, what in (("random", "random neurons"), ("shuffled", "shuffled tokens"))
        if (row["measure"], row["judge"], row["concept"]) == (kind, judge, ALL) and row["total"]
    ]
    if not told:
        return "No question with a known answer was mixed in, so false positives were not measured."
    if named:
        return f"Among questions mixed in to test it, it named a concept in {joined(told)}."
    return f"Among questions mixed in whose right answer is no, it said yes to {joined(told)}."


def _paid(run: Run) -> str:
    replies = run.judgements()
    calls, tokens = sum(reply.get("calls", 0) for reply in replies), sum(reply.get("tokens", 0) for reply in replies)
    if not calls:
        return ""
    costs = [reply.get("cost_usd") for reply in replies]
    price = "at a price not stated" if None in costs else f"for ${sum(cost or 0 for cost in costs):,.4f}"
    return f"The replies took {count(calls, 'call')} and {count(tokens, 'token')}, {price}."


def _judge_rows(rows: Sequence[dict[str, Any]], named: bool) -> list[tuple[str, ...]]:
    measures = _MEASURES | (_OPEN if named else {})
    shown: list[tuple[str, ...]] = []
    for row in rows:
        if row["concept"] == ALL and row["measure"] in measures and row["total"]:
            judge = f"{row['judge']} and {row['other']}" if row["other"] else row["judge"]
            shown.append(
                (readable(judge, 80), measures[row["measure"]], count(row["count"]), count(row["total"]), *_value(row))
            )
    return shown


def _value(row: dict[str, Any]) -> tuple[str, str]:
    if row["measure"] != "kappa":
        return percent(row["value"]), span(row["low"], row["high"])
    interval = NOTHING if row["low"] is None else f"{decimal(row['low'])} to {decimal(row['high'])}"
    return decimal(row["value"]) if row["value"] is not None else "not defined", interval


def _concept_table(rows: Sequence[dict[str, Any]], yields: dict[str, dict[str, Any]], judge: str) -> Table:
    by_place = {(row["measure"], row["concept"]): row for row in rows if row["judge"] == judge}
    table = []
    for concept in [*concept_order(yields), ALL]:
        own = yields[concept]
        false = [by_place[kind, concept] for kind in ("random", "shuffled")]
        kappa = by_place.get(("kappa", concept))
        table.append(
            (
                "all concepts" if concept == ALL else readable(concept, 40),
                count(own["total"]), count(own["count"]), percent(own["value"]), span(own["low"], own["high"]),
                *(f"{row['count']} of {row['total']}" for row in false),
                *((decimal(kappa["value"]),) if kappa else ()),
            )
        )  # fmt: skip
    head = ("Concept", "Judged", "Confirmed", "Yield", "Interval", "Yes on random", "Yes on shuffled")
    return Table((*head, "Kappa") if ("kappa", ALL) in by_place else head, table)


def _yield(row: dict[str, Any]) -> str:
    return f"{row['count']:,} of {row['total']:,} judged ({span(row['low'], row['high'], 0)})"
