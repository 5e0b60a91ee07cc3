"""The concepts of a run: how many neurons carry each, how sure that is, and which are most active."""

from __future__ import annotations

from typing import Any

import polars as pl

from cotlens.concepts.reliability import ALL
from cotlens.explorer.attempt import attempt
from cotlens.explorer.neuron_table import neuron_table
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record
from cotlens.report.tables import clean, concept_order
from cotlens.tokens import visible

__all__ = ["ConceptFrequency", "ConceptList", "ConceptRow", "MostActive", "frequencies_of", "list_concepts"]

_MOST = 6


class MostActive(Record):
    layer: int
    neuron: int
    sign: int
    hits: int | None
    """Steps at which it is active with this sign."""
    tokens: list[str]


class ConceptFrequency(Record):
    """How often the concept's neurons are active under a variant, beside random ones of the same layers and signs."""

    variant: str
    frequency: float | None
    low: float | None
    high: float | None
    random: float | None
    random_low: float | None
    random_high: float | None


class ConceptRow(Record):
    name: str
    neurons: int
    layers: list[int]
    """Neurons in each layer, from layer 0 on."""
    judged: int | None
    """Signed neurons that passed the seed filter and got a verdict."""
    share: float | None
    """Of them, confirmed."""
    low: float | None
    high: float | None
    false_positives: str
    """Of questions whose right answer is no, how many were answered yes; empty where none was asked."""
    frequencies: list[ConceptFrequency]
    most_active: list[MostActive]


class ConceptList(Record):
    rows: list[ConceptRow]
    judge: str
    missing: list[str]


def list_concepts(opened: OpenedRun) -> ConceptList:
    """Every concept that neurons were labelled with.

    Raises:
        InputError: the run is not labelled, or its labels can't be read.
    """
    concepts = opened.concepts()
    table = attempt(lambda: _with_hits(opened, concepts))
    told = attempt(lambda: _told(opened))
    frequencies = attempt(lambda: frequencies_of(opened))
    layers = int(opened.run.manifest.model.get("n_layers") or 1 + max(concepts["layer"], default=0))
    rows = [
        _row(name, concepts, layers, table.value, told.value or {}, frequencies.value or {})
        for name in concept_order(concepts["concept"])
    ]
    reasons = [found.reason for found in (table, told, frequencies) if found.reason]
    return ConceptList(rows=rows, judge=opened.run.config.label.judge, missing=list(dict.fromkeys(reasons)))


def _row(
    name: str,
    concepts: pl.DataFrame,
    layers: int,
    table: pl.DataFrame | None,
    told: dict[str, dict[str, Any]],
    frequencies: dict[str, list[ConceptFrequency]],
) -> ConceptRow:
    own = concepts.filter(concept=name)
    counted = dict(own.group_by("layer").agg(pl.struct("neuron", "sign").n_unique().alias("n")).rows())
    said = told.get(name, {})
    yes = said.get("yield") or {}
    return ConceptRow(
        name=name,
        neurons=own.select("layer", "neuron").n_unique(),
        layers=[counted.get(layer, 0) for layer in range(layers)],
        judged=yes.get("total"),
        share=yes.get("value"),
        low=yes.get("low"),
        high=yes.get("high"),
        false_positives=_false_positives(said),
        frequencies=frequencies.get(name, []),
        most_active=[] if table is None else _most_active(table, name),
    )


def _with_hits(opened: OpenedRun, concepts: pl.DataFrame) -> pl.DataFrame:
    neurons = neuron_table(opened).frame.with_row_index("row")
    hits = pl.when(pl.col("sign") > 0).then("hits_positive").otherwise("hits_negative")
    tokens = pl.when(pl.col("sign") > 0).then("promoted").otherwise("suppressed")
    return concepts.join(neurons, on=["layer", "neuron"]).with_columns(signed=hits, tokens=tokens)


def _most_active(table: pl.DataFrame, name: str) -> list[MostActive]:
    chosen = table.filter(concept=name).sort("signed", "layer", "neuron", descending=[True, False, False])
    return [
        MostActive(layer=layer, neuron=neuron, sign=sign, hits=hits, tokens=[visible(token) for token in tokens[:6]])
        for layer, neuron, sign, hits, tokens in chosen.head(_MOST)
        .select("layer", "neuron", "sign", "signed", "tokens")
        .rows()
    ]


def _told(opened: OpenedRun) -> dict[str, dict[str, Any]]:
    """By concept and measure, what the deciding judge's replies say of it."""
    if not opened.has("label", "reliability.parquet"):
        return {}
    rows = clean(opened.frame("label", "reliability.parquet").filter(judge=opened.run.config.label.judge))
    told: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["concept"] != ALL:
            told.setdefault(row["concept"], {})[row["measure"]] = row
    return told


def _false_positives(said: dict[str, Any]) -> str:
    kinds = (("random", "random neurons"), ("shuffled", "shuffled tokens"))
    texts = [
        f"{said[k]['count']} of {said[k]['total']} {what}" for k, what in kinds if (said.get(k) or {}).get("total")
    ]
    return ", ".join(texts)


def frequencies_of(opened: OpenedRun) -> dict[str, list[ConceptFrequency]]:
    """By concept, also ``all``: its frequency under each variant, in the order of the run."""
    rows = clean(opened.analysis("frequencies"))
    random = {(row["variant"], row["concept"]): row for row in rows if row["set"] == "random"}
    order = {variant: place for place, variant in enumerate(opened.variants)}
    own = sorted(
        (row for row in rows if row["set"] == "concept"), key=lambda row: order.get(row["variant"], len(order))
    )
    found: dict[str, list[ConceptFrequency]] = {}
    for row in own:
        control = random.get((row["variant"], row["concept"]), {})
        frequency = ConceptFrequency(
            variant=row["variant"], frequency=row["frequency"], low=row["low"], high=row["high"],
            random=control.get("frequency"), random_low=control.get("low"), random_high=control.get("high"),
        )  # fmt: skip
        found.setdefault(row["concept"], []).append(frequency)
    return found
