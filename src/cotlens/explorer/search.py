"""Neurons by token, concept, layer and activity: sorted, filtered, a page at a time."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from cotlens.explorer.active import carried_by
from cotlens.explorer.neuron_table import NeuronTable, neuron_table
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.postings import ENDS, postings
from cotlens.explorer.queries import OptionalNumber, Text
from cotlens.explorer.records import Page, Record
from cotlens.tokens import visible

__all__ = ["MATCHES", "SORTS", "NeuronFilter", "NeuronList", "NeuronRow", "find_neurons"]

#: How a token is compared, and what that is called.
MATCHES = {"word": "the word", "contains": "a part of the token", "exact": "the token exactly"}
SORTS = {
    "hits": "active most often",
    "rank": "rank of the token",
    "value_norm": "norm of the value vector",
    "layer": "layer and index",
}

Sort = Literal["hits", "rank", "value_norm", "layer"]


class NeuronFilter(Record):
    """Which neurons are listed."""

    token: Text = ""
    match: Literal["word", "contains", "exact"] = "word"
    end: Literal["both", "promoted", "suppressed"] = "both"
    """Among which of its tokens."""
    concept: Text = ""
    """The name of a concept, or ``any`` for all labelled neurons."""
    min_layer: OptionalNumber = None
    max_layer: OptionalNumber = None
    min_hits: OptionalNumber = None
    sort: Sort | Literal[""] = ""
    """By the rank of the token where there is one, else by activity, when empty."""
    descending: bool | None = None


class NeuronRow(Record):
    layer: int
    neuron: int
    hits: int | None
    hits_positive: int | None
    hits_negative: int | None
    value_norm: float | None
    promoted: list[str]
    suppressed: list[str]
    positive: list[str]
    negative: list[str]
    end: str
    """``promoted`` or ``suppressed``: where the token stands; empty without one."""
    token: str
    rank: int | None
    """Its place there, from 1."""


class NeuronList(Record):
    rows: list[NeuronRow]
    page: Page
    tokens: list[str]
    """The tokens that match, some of them if there are many."""
    sort: str
    descending: bool


def find_neurons(opened: OpenedRun, wanted: NeuronFilter, number: int = 1, size: int = 50) -> NeuronList:
    """The neurons that fit, a page of them."""
    table = neuron_table(opened)
    numbers = table.frame.drop("promoted", "suppressed").with_row_index("row")
    tokens: list[str] = []
    if wanted.token:
        found, tokens = _with_token(opened, wanted)
        numbers = numbers.join(found, on="row", how="inner", maintain_order="left")
    else:
        numbers = numbers.with_columns(end=pl.lit(""), text=pl.lit(""), rank=pl.lit(None, pl.Int32))
    numbers = _filtered(opened, numbers, wanted)
    sort = wanted.sort or ("rank" if wanted.token else "hits")
    descending = sort in ("hits", "value_norm") if wanted.descending is None else wanted.descending
    keys = {"layer": ["layer", "neuron"], "rank": ["rank", "layer", "neuron"]}.get(sort, [sort, "layer", "neuron"])
    down = [descending, *[False] * (len(keys) - 1)]
    page = Page(number=number, size=size, total=numbers.height)
    shown = numbers.sort(keys, descending=down, nulls_last=True).slice(page.first, size)
    carried = carried_by(opened)
    rows = [_row(table, carried, row) for row in shown.iter_rows(named=True)]
    return NeuronList(rows=rows, page=page, tokens=tokens, sort=sort, descending=descending)


def _with_token(opened: OpenedRun, wanted: NeuronFilter) -> tuple[pl.DataFrame, list[str]]:
    """row, end, text and rank of the neurons that have the token at either end, or at that asked for."""
    frames, tokens = [], []
    for end in ENDS if wanted.end == "both" else (wanted.end,):
        index = postings(opened, end)
        texts = index.matching(wanted.token, wanted.match)
        tokens += index.texts.gather(texts[:12]).to_list()
        pairs = index.pairs(texts)
        named = pairs.with_columns(index.texts.gather(pairs["text"]).alias("text"), end=pl.lit(end))
        frames.append(named.cast({"row": pl.UInt32, "rank": pl.Int32}))
    found = pl.concat(frames).sort("row", "rank").unique("row", keep="first", maintain_order=True)
    return found, [visible(token) for token in dict.fromkeys(tokens)]


def _filtered(opened: OpenedRun, rows: pl.DataFrame, wanted: NeuronFilter) -> pl.DataFrame:
    if wanted.min_layer is not None:
        rows = rows.filter(pl.col("layer") >= wanted.min_layer)
    if wanted.max_layer is not None:
        rows = rows.filter(pl.col("layer") <= wanted.max_layer)
    if wanted.min_hits is not None:
        rows = rows.filter(pl.col("hits") >= wanted.min_hits)
    if wanted.concept:
        concepts = opened.concepts()
        if wanted.concept != "any":
            concepts = concepts.filter(pl.col("concept") == wanted.concept)
        rows = rows.join(concepts.select("layer", "neuron").unique(), on=["layer", "neuron"], how="semi")
    return rows


def _row(table: NeuronTable, carried: dict[tuple[int, int, int], list[str]], row: dict[str, Any]) -> NeuronRow:
    layer, neuron = row["layer"], row["neuron"]
    return NeuronRow(
        layer=layer,
        neuron=neuron,
        **{name: row.get(name) for name in ("hits", "hits_positive", "hits_negative", "value_norm")},
        promoted=table.tokens(row["row"], 1),
        suppressed=table.tokens(row["row"], -1),
        positive=carried.get((layer, neuron, 1), []),
        negative=carried.get((layer, neuron, -1), []),
        end=row["end"],
        token=visible(row["text"]),
        rank=None if row["rank"] is None else row["rank"] + 1,
    )
