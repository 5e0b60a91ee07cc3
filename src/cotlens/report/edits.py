"""What edits and edited sets are called, and which dose of an edit is the strongest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import polars as pl

from cotlens.report.tables import concept_order
from cotlens.report.text import readable

__all__ = ["KINDS", "Kind", "edit_name", "edit_order", "set_labels", "set_names", "set_order", "strongest"]

#: A set's name beside a chart has room for so many characters.
_MOST = 22


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to edit. ``done`` is its participle, ``dose`` the unit of a dose, ``identity`` the dose of no effect."""

    done: str
    dose: str
    identity: float = 0.0


#: Every kind of edit, in the order shown.
KINDS: dict[str, Kind] = {
    "noise": Kind("corrupted by noise", "root mean squares of each value vector"),
    "zero": Kind("set to zero", "share of the way to zero"),
    "mean": Kind("set to their mean", "share of the way to the mean"),
    "resample": Kind("resampled from other text", "share of the way to a resampled value"),
    "scale": Kind("scaled", "factor, where 1 changes nothing", identity=1.0),
}
#: Kinds whose dose of 1 is the whole way, and needs no saying.
_SHARES = ("zero", "mean", "resample")


def edit_name(kind: str, dose: float) -> str:
    """``noise 1``, ``zero``, ``zero 0.5``, ``scale ×2``."""
    if kind == "scale":
        return f"scale ×{dose:g}"
    return kind if kind in _SHARES and dose == 1 else f"{kind} {dose:g}"


def edit_order(kind: str, dose: float) -> tuple[int, str, float]:
    """Edits in the order shown; kinds that are not known come last."""
    kinds = list(KINDS)
    return (kinds.index(kind) if kind in kinds else len(kinds), kind, dose)


def strongest(edits: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Of each kind the dose that is furthest from doing nothing, in the order shown."""
    found: dict[str, float] = {}
    for kind, dose in sorted(edits, key=lambda edit: edit_order(*edit)):
        if kind not in found or _strength(kind, dose) > _strength(kind, found[kind]):
            found[kind] = dose
    return list(found.items())


def _strength(kind: str, dose: float) -> float:
    return abs(dose - (KINDS[kind].identity if kind in KINDS else 0.0))


def set_order(targets: Iterable[str]) -> list[str]:
    """The reasoning neurons first, then concepts in their usual order, then other sets as they come."""
    targets = list(dict.fromkeys(targets))
    concepts = {_concept(target): target for target in targets if _concept(target)}
    named = [concepts[concept] for concept in concept_order(concepts)]
    first = [target for target in targets if target.partition("@")[0] == "reasoning"]
    rest = [target for target in targets if target not in (*first, *named)]
    return [*first, *named, *rest]


def set_names(targets: Sequence[str]) -> dict[str, str]:
    """What each edited set is called: short, no two alike."""
    names: dict[str, str] = {}
    for target in targets:
        plain, others = _short(target), 1
        shown = plain
        while shown in names.values():
            others += 1
            shown = f"{plain} ({others})"
        names[target] = shown
    return names


def set_labels(names: Mapping[str, str], members: pl.DataFrame) -> dict[str, str]:
    """``names`` with the number of neurons of each set, where ``members`` (set, draw, layer, neuron) has it."""
    own = members.filter(pl.col("set") != "random", pl.col("draw") == 0)
    counted: list[tuple[Any, ...]] = own.group_by("set").len().rows()
    sizes = {str(target): int(size) for target, size in counted}
    return {target: f"{name} ({sizes[target]:,})" if target in sizes else name for target, name in names.items()}


def _concept(target: str) -> str:
    """The id of a set that is a whole concept, else empty."""
    kind, _, concept = target.partition(":")
    return concept if kind == "concept" and "@" not in concept else ""


def _short(target: str) -> str:
    """``concept:add`` goes by ``add``, a user's list by its file's name."""
    kind, _, rest = target.partition(":")
    if kind == "list":
        rest = PurePath(rest).name or rest
    text = {"reasoning": "reasoning", "all": "all discovered"}.get(target)
    return readable(text or (rest if kind in ("concept", "list") and rest else target), _MOST)
