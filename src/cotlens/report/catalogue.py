"""The labelled neurons concept by concept, and an answer that an edit changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from cotlens.report.judges import label_replies
from cotlens.report.tables import Row, concept_order
from cotlens.report.text import count, decimal, readable
from cotlens.store import Run
from cotlens.tokens import visible
from cotlens.types import SignedNeuron

__all__ = ["Changed", "ConceptGroup", "LabelledNeuron", "changed_answer", "concept_groups"]


@dataclass(frozen=True, slots=True)
class LabelledNeuron:
    name: str
    layer: int
    hits: str
    value_norm: str
    tokens: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ConceptGroup:
    """A concept's most active neurons, and how many it has in all."""

    concept: str
    total: int
    neurons: tuple[LabelledNeuron, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """A question answered right untouched and wrong with a set of neurons edited.

    The ``stated`` texts are what the model wrote when asked once more for its answer; empty if it was not.
    """

    edited: str
    question: str
    gold: str
    before: str
    before_stated: str
    after: str
    after_stated: str
    draw: int
    answer: str


def concept_groups(run: Run, concepts: pl.DataFrame, neurons: pl.DataFrame, most: int = 8) -> list[ConceptGroup]:
    """Up to ``most`` neurons of each concept, those active most often with the labelled sign."""
    reasons = _reasons(run)
    table = concepts.join(neurons, on=["layer", "neuron"]).with_columns(
        signed_hits=pl.when(pl.col("sign") > 0).then("hits_positive").otherwise("hits_negative"),
        tokens=pl.when(pl.col("sign") > 0).then("promoted").otherwise("suppressed"),
    )
    groups = []
    for concept in concept_order(concepts["concept"]):
        chosen = table.filter(concept=concept).sort("signed_hits", "layer", "neuron", descending=[True, False, False])
        shown = []
        for row in chosen.head(most).iter_rows(named=True):
            signed = SignedNeuron(row["layer"], row["neuron"], row["sign"])
            shown.append(
                LabelledNeuron(
                    name=str(signed),
                    layer=row["layer"],
                    hits=count(row["signed_hits"]),
                    value_norm=decimal(row["value_norm"]),
                    tokens=tuple(visible(token) for token in row["tokens"][:10]),
                    reason=readable(_reason(reasons, signed, concept), 240),
                )
            )
        groups.append(ConceptGroup(readable(concept, 40), chosen.height, tuple(shown)))
    return groups


def changed_answer(run: Run, effect: Row) -> Changed | None:
    """The shortest answer that the edit of ``effect`` changed for the worse, in the set's first draw that does."""
    interventions = run.interventions()
    untouched = interventions.filter(pl.col("set") == "none", "correct")
    right = untouched.select("question_id", before="text", before_stated="stated")
    edit = {"set": effect["target"], "scope": effect["scope"], "kind": effect["kind"], "dose": effect["dose"]}
    wrong = interventions.filter(~pl.col("correct"), **edit)
    asked = run.completions().filter(variant=run.config.intervene.variant).select("question_id", "question", "gold")
    found = (
        right.join(wrong, on="question_id")
        .join(asked, on="question_id")
        .with_columns(length=pl.col("before").str.len_chars() + pl.col("text").str.len_chars())
        .sort("length", "question_id", "draw")
    )
    row = next(found.head(1).iter_rows(named=True), None)
    if row is None:
        return None
    return Changed(
        edited=f"{effect['set']}, {effect['edit']}",
        question=readable(row["question"]),
        gold=readable(row["gold"] or "–", 60),
        before=readable(row["before"]),
        before_stated=readable(row["before_stated"] or "", 200),
        after=readable(row["text"]),
        after_stated=readable(row["stated"] or "", 200),
        draw=row["draw"],
        answer=readable(row["answer"] or "none", 60),
    )


def _reasons(run: Run) -> dict[tuple[str, int, str], str]:
    """The reason of each confirmed neuron, sign and concept; the last one given counts."""
    return {
        (reply["neuron"], reply["sign"], reply["concept"]): str(reply.get("reason") or "")
        for reply in label_replies(run)
        if reply.get("verdict") or reply.get("answer")
    }


def _reason(reasons: Mapping[tuple[str, int, str], str], neuron: SignedNeuron, concept: str) -> str:
    """Where the judge named the concept itself, the question had none."""
    place = str(neuron.id), neuron.sign
    return reasons.get((*place, concept)) or reasons.get((*place, "")) or "no reason recorded"
