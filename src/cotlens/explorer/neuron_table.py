"""The projected neurons of a run, found at once by layer and index."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int32

from cotlens.explorer.opened import OpenedRun
from cotlens.tokens import visible

__all__ = ["SCHEMA", "SHOWN_TOKENS", "NeuronTable", "neuron_table"]

#: Tokens of each neuron that are kept in memory; a neuron's own page reads all.
SHOWN_TOKENS = 8

SCHEMA: dict[str, Any] = {
    "layer": pl.Int32, "neuron": pl.Int32, "hits": pl.Int64, "hits_positive": pl.Int64, "hits_negative": pl.Int64,
    "value_norm": pl.Float32, "promoted": pl.List(pl.String), "suppressed": pl.List(pl.String),
}  # fmt: skip
_NUMBERS = ("layer", "neuron", "hits", "hits_positive", "hits_negative", "value_norm")


class NeuronTable:
    """One row per projected neuron: numbers, and its first promoted and suppressed tokens."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def rows(self, layer: np.ndarray, neuron: np.ndarray) -> Int32[np.ndarray, " N"]:
        """The row of each neuron; -1 for one that was not projected."""
        found = np.full(len(layer), -1, dtype=np.int32)
        inside = (layer >= 0) & (layer < self._places.shape[0]) & (neuron >= 0) & (neuron < self._places.shape[1])
        found[inside] = self._places[layer[inside], neuron[inside]]
        return found

    def row(self, layer: int, neuron: int) -> int | None:
        found = int(self.rows(np.array([layer]), np.array([neuron]))[0])
        return None if found < 0 else found

    def tokens(self, row: int, sign: int) -> list[str]:
        """What the neuron promotes with that sign, strongest first, fit to be shown."""
        return [_shown(text) for text in self.frame["promoted" if sign >= 0 else "suppressed"][row].to_list()]

    @cached_property
    def _places(self) -> Int32[np.ndarray, "L F"]:
        if self.frame.is_empty():
            return np.full((0, 0), -1, dtype=np.int32)
        layer, neuron = (self.frame[name].to_numpy() for name in ("layer", "neuron"))
        table = np.full((layer.max() + 1, neuron.max() + 1), -1, dtype=np.int32)
        table[layer, neuron] = np.arange(len(layer), dtype=np.int32)
        return table


#: A vocabulary has so many tokens, and every neuron has some of them.
_shown = lru_cache(maxsize=2**17)(visible)


def neuron_table(opened: OpenedRun) -> NeuronTable:
    """The table of a run, read once."""
    return opened.keep("neuron table", lambda: NeuronTable(_read(opened)))


def _read(opened: OpenedRun) -> pl.DataFrame:
    rows = pl.scan_parquet(opened.paths("project", "neurons.parquet"))
    there = rows.collect_schema().names()
    return rows.select(
        *(name for name in _NUMBERS if name in there),
        *(pl.col(name).list.head(SHOWN_TOKENS) for name in ("promoted", "suppressed")),
    ).collect()
