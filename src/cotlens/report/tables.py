"""The rows behind each figure, in the order in which they are shown.

A row is a plain dict of numbers and texts. NaN is None here, and the texts are fit to be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from cotlens.analyze import Effect
from cotlens.analyze.frequencies import ALL
from cotlens.report.text import readable

__all__ = [
    "Row",
    "accuracy_rows",
    "comparison_rows",
    "concept_order",
    "effect_rows",
    "labelled_by_layer",
    "step_rows",
]

Row = dict[str, Any]

_PUBLISHED = ("add", "subtract", "multiply", "divide", "equals", "formula", "logic")
_ON_EACH_SIDE = 2
_SET_NAMES = {"none": "untouched", "reasoning": "reasoning neurons", "random": "random neurons"}


def concept_order(found: Iterable[str]) -> list[str]:
    """The published concepts in their usual order, then others by name; without the union of all."""
    names = set(found) - {ALL}
    return [name for name in _PUBLISHED if name in names] + sorted(names - set(_PUBLISHED))


def accuracy_rows(accuracy: pl.DataFrame) -> list[Row]:
    """`accuracy` with the variant's name made readable."""
    return [row | {"variant": readable(row["variant"], 40)} for row in _clean(accuracy)]


def comparison_rows(frequencies: pl.DataFrame, variants: Sequence[str]) -> list[Row]:
    """One row per concept and variant: its frequency beside that of its random sets.

    ``ratio`` is None where the random sets are never active. ``apart`` is ``above`` or ``below`` where the whole
    interval of the concept lies outside the band of the random sets, else empty.
    """
    keys = ["variant", "concept"]
    random = frequencies.filter(set="random").select(
        *keys, "draws", random="frequency", random_low="low", random_high="high"
    )
    table = frequencies.filter(set="concept").drop("set", "draws").join(random, on=keys, how="left")
    table = table.filter(pl.col("frequency").is_not_nan())
    places = {concept: place for place, concept in enumerate([*concept_order(table["concept"]), ALL])}
    order = {variant: place for place, variant in enumerate(variants)}
    rows = sorted(_clean(table), key=lambda row: (places[row["concept"]], order.get(row["variant"], len(order))))
    return [row | _compared(row) | {"variant": readable(row["variant"], 40)} for row in rows]


def _compared(row: Row) -> Row:
    label = "all concepts" if row["concept"] == ALL else readable(row["concept"], 24)
    compared: Row = {"label": f"{label} ({row['neurons']:,})", "ratio": None, "apart": ""}
    if row["random"] is None:
        return compared
    if row["random"] > 0:
        compared["ratio"] = row["frequency"] / row["random"]
    if row["low"] > row["random_high"]:
        compared["apart"] = "above"
    elif row["high"] < row["random_low"]:
        compared["apart"] = "below"
    return compared


def labelled_by_layer(concepts: pl.DataFrame) -> list[Row]:
    """Layer, concept and number of ``neurons``; a neuron with two concepts counts for each."""
    counted = concepts.group_by("layer", "concept").agg(neurons=pl.struct("neuron", "sign").n_unique())
    places = {concept: place for place, concept in enumerate(concept_order(concepts["concept"]))}
    rows = [row | {"place": places[row["concept"]]} for row in counted.to_dicts()]
    named = [row | {"concept": readable(row["concept"], 24)} for row in rows]
    return sorted(named, key=lambda row: (row["layer"], row["place"]))


def step_rows(steps: pl.DataFrame, variants: Sequence[str], least_share: float = 0.25) -> list[Row]:
    """One row per variant, set and step for all concepts together: frequency, and its running mean ``smooth``.

    Steps that fewer than ``least_share`` of a variant's completions reach are left out. ``smooth`` is weighted by the
    number of completions.
    """
    rows = []
    together = steps.filter(concept=ALL)
    for variant in variants:
        for kind in ("concept", "random"):
            line = together.filter(variant=variant, set=kind).sort("step")
            if line.is_empty():
                continue
            kept = _clean(line.filter(pl.col("steps") >= least_share * pl.col("steps").max()))
            for place, row in enumerate(kept):
                near = kept[max(0, place - _ON_EACH_SIDE) : place + _ON_EACH_SIDE + 1]
                weight = sum(other["steps"] for other in near)
                smooth = sum((other["frequency"] or 0) * other["steps"] for other in near) / weight
                rows.append(row | {"variant": readable(variant, 40), "smooth": smooth})
    return rows


def effect_rows(effects: Sequence[Effect]) -> tuple[list[Row], list[Row]]:
    """One row per neuron set; and one per draw, with its place above the line of its set's mean."""
    sets = [
        {"set": _SET_NAMES[e.set], "draws": e.draws, "questions": e.questions, "accuracy": e.accuracy}
        | {"low": e.low, "high": e.high, "answered": e.answered}
        for e in effects
    ]
    draws = [{"set": _SET_NAMES[e.set], "draw": n, "accuracy": a} for e in effects for n, a in enumerate(e.by_draw)]
    return sets, _stacked(draws)


def _stacked(draws: Sequence[Row]) -> list[Row]:
    """Draws above their mean's line, those of equal accuracy on top of each other: ``offset`` from -1, the top, to 1.

    A set with one draw needs no point beside its mean.
    """
    drawn = Counter(row["set"] for row in draws)
    same = Counter((row["set"], row["accuracy"]) for row in draws)
    placed: Counter[tuple[str, float]] = Counter()
    stacked = []
    for row in draws:
        if drawn[row["set"]] > 1:
            pile = row["set"], row["accuracy"]
            stacked.append(row | {"offset": -0.28 - placed[pile] * min(0.24, 0.7 / same[pile])})
            placed[pile] += 1
    return stacked


def _clean(frame: pl.DataFrame) -> list[Row]:
    return frame.with_columns(pl.selectors.float().fill_nan(None)).to_dicts()
