"""One neuron: what it promotes, where it is active, what the judges said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from cotlens.errors import InputError
from cotlens.explorer.active import carried_by
from cotlens.explorer.attempt import attempt
from cotlens.explorer.contexts import ShownContext, read_contexts
from cotlens.explorer.interventions import EffectRow, read_effects
from cotlens.explorer.neuron_table import neuron_table
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record
from cotlens.report.text import readable
from cotlens.tokens import visible
from cotlens.types import NeuronId

__all__ = [
    "Count",
    "Label",
    "Neuron",
    "PromotedToken",
    "Similar",
    "WhereActive",
    "neighbours",
    "read_neuron",
    "where_active",
]

#: Of the vocabulary projection.
_ENDS = ("promoted", "suppressed")


class PromotedToken(Record):
    """A token at one end of the vocabulary projection."""

    id: int | None
    text: str
    shown: str
    logit: float | None
    probability: float | None
    share: float
    """The size of its logit, of the largest one at either end."""


class Label(Record):
    """A judge's reply about the neuron and one concept."""

    sign: int
    concept: str
    judge: str
    decides: bool
    """Whether this judge's word is the label."""
    status: str
    verdict: bool | None
    reason: str


class Count(Record):
    """Steps of a kind, and at how many of them the neuron is active with each sign."""

    name: str
    steps: int
    positive: int
    negative: int


class WhereActive(Record):
    positive: int
    """Steps at which the neuron is active with a positive coefficient."""
    negative: int
    edges: list[float]
    """Of the histogram's bins."""
    counts: list[int]
    variants: list[Count]
    roles: list[Count]
    """By the role of the token that is generated."""
    steps: list[Count]
    """By the place of the token in the answer."""


class Similar(Record):
    """A neuron whose value vector points the same way, or, with a negative cosine, the other."""

    layer: int
    neuron: int
    cosine: float
    promoted: list[str]


class Neuron(Record):
    layer: int
    neuron: int
    hits: int | None
    hits_positive: int | None
    hits_negative: int | None
    value_norm: float | None
    norm: str
    """How the projection treats the final norm: ``none`` or ``gamma``."""
    promoted: list[PromotedToken]
    suppressed: list[PromotedToken]
    positive: list[str]
    """Concepts that it carries with a positive coefficient."""
    negative: list[str]
    labels: list[Label]
    sets: list[str]
    """The edited sets, without random ones, that it is a member of."""
    effects: list[EffectRow]
    """Accuracy with these sets edited: what is known of the neuron's effect, which was not edited alone."""
    active: WhereActive | None
    contexts: list[ShownContext]
    similar: list[Similar]
    missing: list[str]
    """Why something of this is absent."""


def read_neuron(opened: OpenedRun, name: str) -> Neuron:
    """All that the run knows of the neuron called ``name``, such as ``L12N345``.

    Raises:
        InputError: no neuron's name, or the model has none of it.
    """
    layer, neuron = NeuronId.parse(name)
    _check(opened, layer, neuron)
    row = attempt(lambda: _projected(opened, layer, neuron))
    active = attempt(lambda: where_active(opened, layer, neuron))
    contexts = attempt(lambda: read_contexts(opened, opened.index().contexts(layer, neuron)))
    found = row.value or {}
    sets = attempt(lambda: _sets(opened, layer, neuron)).value or []
    carried = carried_by(opened)
    return Neuron(
        layer=layer,
        neuron=neuron,
        **{field: found.get(field) for field in ("hits", "hits_positive", "hits_negative", "value_norm")},
        norm=found.get("norm") or opened.run.config.project.norm,
        promoted=_end(found, "promoted"),
        suppressed=_end(found, "suppressed"),
        positive=carried.get((layer, neuron, 1), []),
        negative=carried.get((layer, neuron, -1), []),
        labels=attempt(lambda: _labels(opened, f"L{layer}N{neuron}")).value or [],
        sets=sets,
        effects=attempt(lambda: _effects(opened, sets)).value or [],
        active=active.value,
        contexts=contexts.value or [],
        similar=attempt(lambda: _similar(opened, layer, neuron)).value or [],
        missing=list(dict.fromkeys(reason for reason in (row.reason, active.reason, contexts.reason) if reason)),
    )


def neighbours(opened: OpenedRun, layer: int, neuron: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """The projected neurons before and after in the same layer."""
    own = neuron_table(opened).frame.filter(layer=layer)["neuron"]
    before, after = own.filter(own < neuron).max(), own.filter(own > neuron).min()
    return (None if before is None else (layer, before)), (None if after is None else (layer, after))  # type: ignore[return-value]


def _check(opened: OpenedRun, layer: int, neuron: int) -> None:
    model = opened.run.manifest.model
    layers, width = model.get("n_layers"), model.get("d_ff")
    if layers is not None and width is not None and not (layer < layers and neuron < width):
        raise InputError(
            f"L{layer}N{neuron}: no such neuron; this run's model has layers 0 to {layers - 1} and neurons 0 to "
            f"{width - 1}"
        )


def _projected(opened: OpenedRun, layer: int, neuron: int) -> dict[str, Any]:
    place = neuron_table(opened).row(layer, neuron)
    if place is None:
        raise InputError("this neuron was never active in the run, so it was not projected")
    rows = pl.scan_parquet(opened.paths("project", "neurons.parquet")).slice(place, 1).collect()
    return rows.row(0, named=True)


def _end(row: dict[str, Any], end: str) -> list[PromotedToken]:
    texts = row.get(end) or []
    blank = [None] * len(texts)
    ids, logits = row.get(f"{end}_ids") or blank, row.get(f"{end}_logits") or blank
    probabilities = row.get(f"{end}_probs") or blank
    both = [logit for name in _ENDS for logit in row.get(f"{name}_logits") or () if logit is not None]
    largest = max(map(abs, both), default=0) or 1
    return [
        PromotedToken(
            id=token, text=text, shown=visible(text), logit=logit, probability=probability,
            share=0 if logit is None else abs(logit) / largest,
        )
        for token, text, logit, probability in zip(ids, texts, logits, probabilities, strict=False)
    ]  # fmt: skip


def _labels(opened: OpenedRun, name: str) -> list[Label]:
    deciding = opened.run.config.label.judge
    return [
        Label(
            sign=reply.get("sign") or 1,
            concept=readable(reply.get("concept") or str(reply.get("answer") or ""), 60),
            judge=readable(reply.get("judge") or deciding, 60),
            decides=(reply.get("judge") or deciding) == deciding,
            status=str(reply.get("status") or ""),
            verdict=reply.get("verdict"),
            reason=readable(str(reply.get("reason") or ""), 600),
        )
        for reply in opened.judgements()
        if reply.get("neuron") == name and reply.get("kind", "label") == "label"
    ]


def _sets(opened: OpenedRun, layer: int, neuron: int) -> list[str]:
    if not opened.has("intervene", "intervention_sets.parquet"):
        return []
    members = opened.frame("intervene", "intervention_sets.parquet").filter(layer=layer, neuron=neuron)
    return [name for name in members["set"].unique().sort().to_list() if name != "random"]


def _effects(opened: OpenedRun, sets: list[str]) -> list[EffectRow]:
    return [row for row in read_effects(opened) if row.target in sets and row.measure == "accuracy"] if sets else []


def where_active(opened: OpenedRun, layer: int, neuron: int) -> WhereActive:
    """Where a neuron is active; all zeros for one that never is.

    Raises:
        InputError: there are no activations, their index is not ready, or there is no such neuron.
    """
    summary = opened.index().summary(layer, neuron)
    return WhereActive(
        positive=summary.positive,
        negative=summary.negative,
        edges=np.asarray(summary.edges, dtype=float).tolist(),
        counts=summary.counts.tolist(),
        variants=_counts(summary.variants, "variant"),
        roles=_counts(summary.roles.filter((pl.col("token") == "predicted") & (pl.col("steps") > 0)), "role"),
        steps=[
            Count(name=str(first), steps=steps, positive=positive, negative=negative)
            for first, _, steps, positive, negative in summary.steps.rows()
            if steps
        ],
    )


def _counts(table: pl.DataFrame, name: str) -> list[Count]:
    rows = table.select(name, "steps", "positive", "negative").rows()
    return [Count(name=label, steps=steps, positive=up, negative=down) for label, steps, up, down in rows]


def _similar(opened: OpenedRun, layer: int, neuron: int) -> list[Similar]:
    if not opened.has("similar", "similar.parquet"):
        return []
    found = pl.scan_parquet(opened.paths("similar", "similar.parquet")).filter(layer=layer, neuron=neuron).collect()
    if found.is_empty():
        return []
    row, table = found.row(0, named=True), neuron_table(opened)
    similar = []
    for other_layer, other, cosine in zip(row["similar_layer"], row["similar_neuron"], row["cosine"], strict=True):
        place = table.row(other_layer, other)
        tokens = table.tokens(place, 1) if place is not None else []
        similar.append(Similar(layer=other_layer, neuron=other, cosine=cosine, promoted=tokens))
    return similar
