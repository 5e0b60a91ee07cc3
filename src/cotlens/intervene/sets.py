"""Sets of neurons by name. A new kind of set is a function, and one entry in `SETS`.

A name may end in a band of layers, as in ``reasoning@6-11`` or ``all@20``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import polars as pl

from cotlens.concepts import load_concepts
from cotlens.config import DiscoverConfig, RunConfig
from cotlens.errors import ConfigError, DataError, InputError, near_match
from cotlens.files import read_text
from cotlens.types import NeuronId

__all__ = ["SETS", "Found", "NamedSet", "SetKind", "check_layers", "check_sets", "find_sets", "list_files", "read_list"]

logger = logging.getLogger(__name__)

_BAND = re.compile(r"(.+)@([0-9]+)(?:-([0-9]+))?", re.DOTALL)
_RANKERS = get_args(DiscoverConfig.model_fields["ranker"].annotation)
_MEMBER = ["layer", "neuron"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has found, in which sets are looked up."""

    concepts: pl.DataFrame
    """layer, neuron, concept, of every confirmed neuron."""
    discovered: pl.DataFrame
    """layer, neuron."""
    scores: Callable[[str], pl.DataFrame]
    """layer, neuron and summed score by a ranker; by the run's own for an empty name."""


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set as it was asked for."""

    name: str
    kind: str
    argument: str
    layers: tuple[int, int] | None
    """The first and the last layer that count; all when None."""

    @classmethod
    def parse(cls, name: str) -> NamedSet:
        """Read a name as it stands in ``intervene.sets``.

        Raises:
            ConfigError: there is no such kind of set, or its band of layers ends before it begins.
        """
        match = _BAND.fullmatch(name)
        plain = match[1] if match else name
        kind, colon, argument = plain.partition(":")
        found = SETS.get(f"{kind}:" if colon else kind)
        if found is None:
            kinds = {known.partition(":")[0] for known in SETS}
            hint = "" if kind in kinds else near_match(kind, kinds)
            raise ConfigError(f"intervene.sets: {name!r} is no set of neurons{hint}; write {_written()}")
        layers = (int(match[2]), int(match[3] or match[2])) if match else None
        if layers and layers[0] > layers[1]:
            raise ConfigError(f"intervene.sets: {name!r}: layer {layers[0]} comes after {layers[1]}; write LOW-HIGH")
        return cls(name, f"{kind}:" if colon else kind, argument, layers)

    def find(self, found: Found) -> dict[str, pl.DataFrame]:
        """The members, layer and neuron, under the name of each set that is meant.

        Raises:
            InputError: there is none, where that is not for the judge to say.
        """
        whole = SETS[self.kind].find(self.argument, found)
        kept = {f"{name}{self._band}": self._within(members) for name, members in whole.items()}
        kept = {name: members for name, members in kept.items() if not members.is_empty()}
        if kept:
            return kept
        if not any(members.height for members in whole.values()):
            known = sorted(set(found.concepts["concept"]))
            why = f"the judge confirmed {'neurons for ' + ', '.join(known) if known else 'none'}"
            if SETS[self.kind].may_be_empty:
                logger.warning("set %r has no neuron, since %s; it is left out", self.name, why)
                return {}
            raise InputError(f"intervene.sets: {self.name!r} has no neuron; {why}")
        inside = sorted({layer for members in whole.values() for layer in members["layer"]})
        raise InputError(
            f"intervene.sets: {self.name!r} has no neuron in these layers; without the band it has some in "
            f"{inside[0]} to {inside[-1]}"
        )

    @property
    def _band(self) -> str:
        return "" if self.layers is None else f"@{self.name.rpartition('@')[2]}"

    def _within(self, members: pl.DataFrame) -> pl.DataFrame:
        if self.layers is not None:
            members = members.filter(pl.col("layer").is_between(*self.layers))
        return members.select(pl.col(_MEMBER).cast(pl.Int32)).unique().sort(_MEMBER)


@dataclass(frozen=True, slots=True)
class SetKind:
    """How sets of one kind are written, checked before anything is loaded, and found."""

    written: str
    find: Callable[[str, Found], dict[str, pl.DataFrame]]
    """From the argument; the names without a band."""
    check: Callable[[str, RunConfig], None] = lambda argument, config: None
    """Raises an `InputError` for an argument that is not valid."""
    may_be_empty: bool = False
    """Whether it is a result, and no mistake, that it has no members."""


def _reasoning(_: str, found: Found) -> dict[str, pl.DataFrame]:
    return {"reasoning": found.concepts}


def _all(_: str, found: Found) -> dict[str, pl.DataFrame]:
    return {"all": found.discovered}


def _concepts(_: str, found: Found) -> dict[str, pl.DataFrame]:
    return {name: members for concept in sorted(set(found.concepts["concept"]))
            for name, members in _concept(concept, found).items()}  # fmt: skip


def _concept(concept: str, found: Found) -> dict[str, pl.DataFrame]:
    return {f"concept:{concept}": found.concepts.filter(concept=concept)}


def _check_concept(concept: str, config: RunConfig) -> None:
    known = [entry.id for entry in load_concepts(config.label.concepts)]
    if config.label.mode == "concepts" and concept not in known:
        raise ConfigError(f"intervene.sets: concept {concept!r} is not known{near_match(concept, known)}")


def _list(path: str, _: Found) -> dict[str, pl.DataFrame]:
    return {f"list:{path}": pl.DataFrame(read_list(path), schema=_MEMBER, orient="row")}


def _check_list(path: str, _: RunConfig) -> None:
    read_list(path)


def _top(argument: str, found: Found) -> dict[str, pl.DataFrame]:
    count, _, ranker = argument.partition(":")
    best = found.scores(ranker).sort("score", *_MEMBER, descending=[True, False, False]).head(int(count))
    return {f"top:{argument}": best}


def _check_top(argument: str, _: RunConfig) -> None:
    count, colon, ranker = argument.partition(":")
    if not count.isascii() or not count.isdigit() or int(count) < 1:
        raise ConfigError(f"intervene.sets: 'top:{argument}': {count!r} is no number of neurons; write top:N, N from 1")
    if colon and ranker not in _RANKERS:
        raise ConfigError(f"intervene.sets: 'top:{argument}': no ranker {ranker!r}{near_match(ranker, _RANKERS)}")


#: By what a name begins with; a colon says that an argument follows.
SETS: dict[str, SetKind] = {
    "reasoning": SetKind("reasoning", _reasoning, may_be_empty=True),
    "concepts": SetKind("concepts", _concepts, may_be_empty=True),
    "concept:": SetKind("concept:ID", _concept, _check_concept),
    "top:": SetKind("top:N or top:N:RANKER", _top, _check_top),
    "list:": SetKind("list:PATH", _list, _check_list),
    "all": SetKind("all", _all),
}


def check_sets(config: RunConfig) -> None:
    """Raise an `InputError` for a set whose name or file is not valid; nothing of the run is looked at."""
    for name in config.intervene.sets:
        named = NamedSet.parse(name)
        SETS[named.kind].check(named.argument, config)
        if named.kind == "all" and "rest" in config.intervene.scopes:
            raise ConfigError(f"intervene.sets: beside {name!r} nothing is left to edit; leave out the scope 'rest'")


def check_layers(config: RunConfig, model: str, layers: int | None, width: int | None) -> None:
    """Raise an `InputError` for a set outside the model, as far as its layers and their width are known."""
    for name in config.intervene.sets:
        named = NamedSet.parse(name)
        if layers is not None and named.layers is not None and named.layers[1] >= layers:
            raise ConfigError(f"intervene.sets: {name!r}: {model} has layers 0 to {layers - 1}")
        for neuron in read_list(named.argument) if named.kind == "list:" else ():
            if layers is not None and neuron.layer >= layers:
                raise ConfigError(f"{named.argument}: {neuron}: {model} has layers 0 to {layers - 1}")
            if width is not None and neuron.neuron >= width:
                raise ConfigError(f"{named.argument}: {neuron}: {model} has neurons 0 to {width - 1} in each layer")


def list_files(config: RunConfig) -> list[list[NeuronId]]:
    """What the files hold that sets are read from."""
    named = [NamedSet.parse(name) for name in config.intervene.sets]
    return [read_list(one.argument) for one in named if one.kind == "list:"]


def find_sets(names: tuple[str, ...], found: Found) -> dict[str, pl.DataFrame]:
    """The members, layer and neuron in order, of every set that is named; of one that two names mean, once.

    Raises:
        InputError: a set has no members.
    """
    sets: dict[str, pl.DataFrame] = {}
    for name in names:
        sets |= NamedSet.parse(name).find(found)
    return sets


def read_list(source: str) -> list[NeuronId]:
    """The neurons in a file with one ``L12N345`` a line; what follows ``#`` is a remark.

    Raises:
        DataError: no such file, none in it, or a line that is no neuron or one that stood there before.
    """
    path = Path(source).expanduser()
    found: dict[NeuronId, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            neuron = NeuronId.parse(text)
        except InputError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if neuron in found:
            raise DataError(f"{path}, line {number}: {neuron} stands in line {found[neuron]} already")
        found[neuron] = number
    if not found:
        raise DataError(f"{path}: no neuron in it; write one L12N345 a line")
    return list(found)


def _written() -> str:
    return ", ".join(kind.written for kind in SETS.values()) + "; @6-11 behind it for a band of layers"
