"""Which neurons are counted together: those of a concept, of all concepts, and random ones that match them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int32, Int64

from cotlens.analyze.controls import draw_matched, signed_pool

__all__ = ["ALL", "SetIndex", "index_sets", "make_sets"]

#: The union of all concepts.
ALL = "all"

_NEURON = ["layer", "neuron", "sign"]


def make_sets(concepts: pl.DataFrame, neurons: pl.DataFrame, draws: int, seed: int) -> pl.DataFrame:
    """The neurons of every concept, of all together, and ``draws`` random sets matched to each.

    Returns:
        One row per member: concept, set (``concept`` or ``random``), draw, layer, neuron, sign.
    """
    pool = signed_pool(neurons, excluded=concepts)
    named = [(name[0], group) for name, group in concepts.partition_by("concept", as_dict=True).items()]
    targets = [*sorted(named), (ALL, concepts)]
    frames = []
    for place, (concept, group) in enumerate(targets):
        members = group.select(_NEURON).unique().sort(_NEURON)
        frames.append(_as_set(members, concept, "concept", 0))
        frames += [
            _as_set(draw_matched(pool, members, [seed, place, draw]), concept, "random", draw) for draw in range(draws)
        ]
    return pl.concat(frames)


def _as_set(members: pl.DataFrame, concept: str, kind: str, draw: int) -> pl.DataFrame:
    return members.select(
        pl.lit(concept).alias("concept"), pl.lit(kind).alias("set"), pl.lit(draw, pl.Int32).alias("draw"), *_NEURON
    )


@dataclass(frozen=True)
class SetIndex:
    """The sets as arrays, for counting. ``N`` neurons, each with two signs: ``2n`` positive, ``2n + 1`` negative.

    ``S`` columns, one per concept, set and draw, in the order of ``columns``.
    """

    columns: pl.DataFrame
    """concept, set, draw, and size: the number of its members."""
    neurons: pl.DataFrame
    """layer and neuron, in the order of their numbers."""
    value_norm: Float32[np.ndarray, " N"]
    member_column: Int32[np.ndarray, " M"]
    """Of each membership its column; sorted by ``member``."""
    member: Int32[np.ndarray, " M"]
    """Of each membership its signed neuron."""

    @cached_property
    def sizes(self) -> Int64[np.ndarray, " S"]:
        """Members of each column."""
        return np.bincount(self.member_column, minlength=self.columns.height)

    @cached_property
    def starts(self) -> Int64[np.ndarray, " 2N+1"]:
        """Where the memberships of each signed neuron begin, and at last their number."""
        return np.searchsorted(self.member, np.arange(2 * self.neurons.height + 1))

    @cached_property
    def layers(self) -> Int32[np.ndarray, " 2N"]:
        """The layer of each signed neuron."""
        return np.repeat(self.neurons["layer"].to_numpy(), 2)

    @cached_property
    def is_opposite(self) -> Bool[np.ndarray, " M"]:
        """Of each membership whether the neuron with the other sign is no member of the same column."""
        keys = self.member_column.astype(np.int64) * (2 * self.neurons.height) + self.member
        other = self.member_column.astype(np.int64) * (2 * self.neurons.height) + (self.member ^ 1)
        return ~np.isin(other, keys)

    def groups(self) -> list[tuple[str, str, Int64[np.ndarray, " s"]]]:
        """Concept, set and the columns of all its draws, concepts before their random sets."""
        numbered = self.columns.with_row_index("column")
        return [
            (concept, kind, group["column"].to_numpy().astype(np.int64))
            for (concept, kind), group in numbered.partition_by(
                "concept", "set", as_dict=True, maintain_order=True
            ).items()
        ]

    def concepts(self) -> list[str]:
        """The concepts, in the order of `groups`."""
        return [concept for concept, kind, _ in self.groups() if kind == "concept"]

    def find(self, layer: np.ndarray, neuron: np.ndarray) -> Int32[np.ndarray, " E"]:
        """The number of each neuron, -1 for one that is in no set."""
        if self.neurons.is_empty():
            return np.full(len(layer), -1, dtype=np.int32)
        inside = (layer < self._lookup.shape[0]) & (neuron < self._lookup.shape[1])
        found = np.full(len(layer), -1, dtype=np.int32)
        found[inside] = self._lookup[layer[inside], neuron[inside]]
        return found

    @cached_property
    def _lookup(self) -> Int32[np.ndarray, "L F"]:
        layer, neuron = (self.neurons[name].to_numpy() for name in ("layer", "neuron"))
        table = np.full((layer.max() + 1, neuron.max() + 1), -1, dtype=np.int32)
        table[layer, neuron] = np.arange(len(layer), dtype=np.int32)
        return table


def index_sets(members: pl.DataFrame, neurons: pl.DataFrame) -> SetIndex:
    """``members`` as `make_sets` gives them, with the ``value_norm`` of ``neurons``."""
    columns = members.group_by("concept", "set", "draw").agg(size=pl.len()).sort("concept", "set", "draw")
    known = (
        members.select("layer", "neuron")
        .unique()
        .join(neurons.select("layer", "neuron", "value_norm"), on=["layer", "neuron"], how="left")
        .sort("layer", "neuron")
    )
    placed = (
        members.join(columns.drop("size").with_row_index("column"), on=["concept", "set", "draw"])
        .join(known.select("layer", "neuron").with_row_index("number"), on=["layer", "neuron"])
        .select("column", member=2 * pl.col("number").cast(pl.Int32) + (pl.col("sign") < 0))
        .sort("member", "column")
    )
    return SetIndex(
        columns=columns,
        neurons=known.select("layer", "neuron"),
        value_norm=known["value_norm"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
        member_column=placed["column"].cast(pl.Int32).to_numpy(),
        member=placed["member"].cast(pl.Int32).to_numpy(),
    )
