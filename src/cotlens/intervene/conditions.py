"""Everything that the model is tested under: each set, its random controls, each edit at each dose, each draw."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from cotlens.config import InterveneConfig
from cotlens.errors import InputError
from cotlens.intervene.kinds import KINDS
from cotlens.intervene.reference import Reference
from cotlens.model.additive import Edit, Neurons

__all__ = ["RANDOM", "UNTOUCHED", "Condition", "make_conditions"]

#: What the random sets are called.
RANDOM = "random"

#: Longest piece of a set's name in the name of a file.
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Condition:
    """One edit of one set of neurons, or none (`UNTOUCHED`)."""

    target: str | None
    """The set that was asked for; of a random one, the set that it matches."""
    set: str
    scope: str | None
    kind: str
    dose: float
    draw: int
    neurons: Neurons = field(repr=False)
    """Those that are edited, which in the scope ``rest`` are all but the set's members."""

    @property
    def part(self) -> str:
        """The name of the files that hold its results; safe whatever the set is called."""
        if self.target is None:
            return f"{self.set}-{self.draw:02d}.parquet"
        which = f"{_file_name(self.target)}-{self.scope}-{self.kind}-{self.dose!r}"
        return f"{which}{'-random' if self.set == RANDOM else ''}-{self.draw:02d}.parquet"

    def edits(self, seed: int, reference: Reference) -> Sequence[Edit]:
        """What is done to the model."""
        if self.target is None:
            return ()
        return (KINDS[self.kind].make(self.neurons, self.dose, seed + self.draw, reference),)

    def tag(self, rows: pl.DataFrame) -> pl.DataFrame:
        """``rows`` behind the columns that say which condition they belong to."""
        return rows.select(
            pl.lit(self.set).alias("set"), pl.lit(self.target, pl.String).alias("target"),
            pl.lit(self.scope, pl.String).alias("scope"), pl.lit(self.kind).alias("kind"),
            pl.lit(self.dose, pl.Float64).alias("dose"), pl.lit(self.draw, pl.Int32).alias("draw"), pl.all(),
        )  # fmt: skip


#: The model as it is.
UNTOUCHED = Condition(None, "none", None, "none", 0.0, 0, ())


def make_conditions(config: InterveneConfig, members: pl.DataFrame, discovered: pl.DataFrame) -> list[Condition]:
    """The conditions in the order of the sets in ``members``.

    Args:
        config: edits, scopes and numbers of draws.
        members: set, target, draw, layer, neuron.
        discovered: layer, neuron of all discovered neurons.

    Raises:
        InputError: in the scope ``rest`` nothing is left beside a set.
    """
    conditions: list[Condition] = []
    for (target,), of_target in members.partition_by("target", as_dict=True, maintain_order=True).items():
        layers = of_target.select("layer").unique()
        whole = pl.concat([discovered, of_target.filter(set=target).select("layer", "neuron")]).unique()
        whole = whole.join(layers, on="layer", how="semi").sort("layer", "neuron")
        groups = of_target.partition_by("set", "draw", as_dict=True, maintain_order=True)
        drawn: dict[tuple[str, int, str], Neurons] = {
            (name, draw, scope): _edited(rows, scope, whole)
            for (name, draw), rows in groups.items()
            for scope in config.scopes
        }
        if any(not neurons for neurons in drawn.values()):
            raise InputError(
                f"intervene.scopes: beside {target!r} no neuron is left to edit; leave out the scope 'rest'"
            )
        conditions += _of_target(config, target, drawn)
    return conditions


def _edited(members: pl.DataFrame, scope: str, whole: pl.DataFrame) -> Neurons:
    columns = ["layer", "neuron"]
    rows = members if scope == "set" else whole.join(members, on=columns, how="anti")
    return rows.select(columns).sort(columns).rows()


def _of_target(config: InterveneConfig, target: str, drawn: dict[tuple[str, int, str], Neurons]) -> Iterator[Condition]:
    controls = 1 + max((draw for name, draw, _ in drawn if name == RANDOM), default=-1)
    for edit in config.edits:
        draws = config.draws if KINDS[edit.kind].is_random else 1
        for dose in edit.doses:
            for scope in config.scopes:
                for draw in range(draws):
                    yield Condition(target, target, scope, edit.kind, dose, draw, drawn[target, 0, scope])
                for draw in range(controls):
                    yield Condition(target, RANDOM, scope, edit.kind, dose, draw, drawn[RANDOM, draw, scope])


def _file_name(name: str) -> str:
    """Letters that every file system keeps apart; where that loses something, a hash says which name it was."""
    plain = re.sub(r"[^a-z0-9@-]+", "_", name.lower())[:_SHOWN]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return plain if plain == name else f"{plain}-{digest}"
