"""Which neurons promote or suppress a token: an index of the projected tokens, made at the first search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int32, Int64, UInt8

from cotlens.explorer.opened import OpenedRun

__all__ = ["ENDS", "Postings", "postings"]

ENDS = ("promoted", "suppressed")


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
    lists = pl.scan_parquet(opened.paths("project", "neurons.parquet")).select(end).collect()[end]
    lengths = lists.list.len().to_numpy()
    row = np.repeat(np.arange(len(lists), dtype=np.int32), lengths)
    begins = np.cumsum(lengths) - lengths
    rank = np.minimum(np.arange(len(row)) - np.repeat(begins, lengths), 255).astype(np.uint8)
    tokens = lists.explode(empty_as_null=False).rename("text")
    texts = tokens.unique(maintain_order=True)
    numbered = pl.DataFrame({"text": texts, "code": np.arange(len(texts), dtype=np.int32)})
    codes = tokens.to_frame().join(numbered, on="text", how="left", maintain_order="left", nulls_equal=True)["code"]
    order = np.argsort(codes.to_numpy(), kind="stable")
    starts = np.searchsorted(codes.to_numpy()[order], np.arange(len(texts) + 1))
    return Postings(texts.fill_null(""), starts, row[order], rank[order])
