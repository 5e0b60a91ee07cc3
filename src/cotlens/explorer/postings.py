"""Which neurons promote or suppress a token: an index of the projected tokens, made at the first search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int32, Int64, UInt8

from cotlens.explorer.opened import OpenedRun

__all__ = ["ENDS", "Postings", "postings"]

ENDS = ("promoted", "suppressed")
#: Neurons whose tokens are looked at together.
_NEURONS = 2**15


@dataclass(frozen=True)
class Postings:
    """For one end of the projections. ``V`` token texts, ``M`` pairs of a neuron and one of its tokens."""

    texts: pl.Series
    """The ``V`` texts that occur."""
    starts: Int64[np.ndarray, " V+1"]
    """Where the pairs of each text begin."""
    row: Int32[np.ndarray, " M"]
    """The neuron, as a row of the table of neurons."""
    rank: UInt8[np.ndarray, " M"]
    """The token's place among those of the neuron, from 0."""

    def matching(self, words: str, how: str) -> list[int]:
        """The texts that match: ``word``, but for case and spaces around; ``exact``; or ``contains``."""
        if how == "exact":
            found = self.texts == words
        elif how == "contains":
            found = self.texts.str.to_lowercase().str.contains(words.strip().lower(), literal=True)
        else:
            found = self.texts.str.strip_chars().str.to_lowercase() == words.strip().lower()
        return found.arg_true().to_list()

    def pairs(self, texts: list[int]) -> pl.DataFrame:
        """row, text and rank of the neurons that have one of these texts; of several the one they rank highest."""
        pieces = [slice(int(self.starts[text]), int(self.starts[text + 1])) for text in texts]
        lengths = [piece.stop - piece.start for piece in pieces]
        frame = pl.DataFrame(
            {
                "row": np.concatenate([self.row[piece] for piece in pieces] or [self.row[:0]]),
                "rank": np.concatenate([self.rank[piece] for piece in pieces] or [self.rank[:0]]),
                "text": np.repeat(np.array(texts, dtype=np.int32), lengths),
            }
        )
        return frame.sort("row", "rank").unique("row", keep="first", maintain_order=True)


def postings(opened: OpenedRun, end: str) -> Postings:
    """The index of one of `ENDS`."""
    return opened.keep(f"postings {end}", lambda: _make(opened, end))


def _make(opened: OpenedRun, end: str) -> Postings:
    lists = pl.scan_parquet(opened.paths("project", "neurons.parquet")).select(end)
    # Twice and piece by piece: all tokens at once take more memory than all else that the explorer holds.
    each = [tokens.unique() for _, tokens in _pieces(lists)]
    texts = pl.concat([pl.Series("text", [], pl.String), *each]).unique().sort()
    numbered = pl.DataFrame({"text": texts, "code": np.arange(len(texts), dtype=np.int32)})
    code, row, rank = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.uint8)]
    first = 0
    for lengths, tokens in _pieces(lists):
        found = tokens.to_frame().join(numbered, on="text", how="left", maintain_order="left")["code"]
        begins = np.repeat(np.cumsum(lengths) - lengths, lengths)
        code.append(found.to_numpy())
        row.append(np.repeat(np.arange(first, first + len(lengths), dtype=np.int32), lengths))
        rank.append(np.minimum(np.arange(len(begins)) - begins, 255).astype(np.uint8))
        first += len(lengths)
    codes = np.concatenate(code)
    order = np.argsort(codes, kind="stable").astype(np.int32)
    starts = np.searchsorted(codes[order], np.arange(len(texts) + 1))
    return Postings(texts, starts, np.concatenate(row)[order], np.concatenate(rank)[order])


def _pieces(lists: pl.LazyFrame) -> Iterator[tuple[Int64[np.ndarray, " n"], pl.Series]]:
    """Of some neurons at a time how many tokens each has, and the text of all."""
    for start in itertools.count(0, _NEURONS):
        found = lists.slice(start, _NEURONS).collect().to_series()
        if found.is_empty():
            return
        tokens = found.explode(empty_as_null=False).rename("text").fill_null("")
        yield found.list.len().to_numpy().astype(np.int64), tokens
