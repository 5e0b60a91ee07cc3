"""The rows behind each figure, in the order in which they are shown.

A row is a plain dict of numbers and texts. NaN is None here, and the texts are fit to be shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from cotlens.analyze.sets import ALL
from cotlens.report.text import readable

__all__ = [
    "Row",
    "accuracy_rows",
    "clean",
    "compared",
    "comparison_rows",
    "concept_order",
    "labelled_by_layer",
    "percentages",
    "step_rows",
    "unique",
]

Row = dict[str, Any]

_PUBLISHED = ("add", "subtract", "multiply", "divide", "equals", "formula", "logic")
_ON_EACH_SIDE = 2


def concept_order(found: Iterable[str]) -> list[str]:
    """The published concepts in their usual order, then others by name; without the union of all."""
    names = set(found) - {ALL}
    return [name for name in _PUBLISHED if name in names] + sorted(names - set(_PUBLISHED))


def accuracy_rows(
    accuracy: pl.DataFrame, names: Mapping[str, str], prompts: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    """`accuracy` with what the manifest says of each variant's ``prompts``; None where it says nothing.

    ``names`` gives the shown name of each variant, here and below.
    """
    rows = []
    for row in clean(accuracy):
        prompt = prompts.get(row["variant"], {})
        said = {field: prompt.get(field) for field in ("demonstrations", "lines", "equations", "two_stage")}
        length = prompt.get("mean_tokens", row.get("mean_prompt_tokens"))
        rows.append(row | said | {"variant": names[row["variant"]], "prompt_tokens": length})
    return rows


def comparison_rows(frequencies: pl.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """One row per concept and variant, the variants in the order of ``names``: frequency beside that of random sets.

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
    order = {variant: place for place, variant in enumerate(names)}
    rows = sorted(clean(table), key=lambda row: (places[row["concept"]], order[row["variant"]]))
    return [row | compared(row) | {"variant": names[row["variant"]]} for row in rows]


def compared(row: Row) -> Row:
    """How a row's frequency compares with that of its random sets."""
    label = "all concepts" if row["concept"] == ALL else readable(row["concept"], 24)
    found: Row = {"label": f"{label} ({row['neurons']:,})", "ratio": None, "apart": ""}
    if row["random"] is None:
        return found
    if row["random"] > 0:
        found["ratio"] = row["frequency"] / row["random"]
    if row["low"] is None:
        return found
    if row["low"] > row["random_high"]:
        found["apart"] = "above"
    elif row["high"] < row["random_low"]:
        found["apart"] = "below"
    return found


def labelled_by_layer(concepts: pl.DataFrame) -> list[Row]:
    """Layer, concept and number of ``neurons``; a neuron with two concepts counts for each."""
    counted = concepts.group_by("layer", "concept").agg(neurons=pl.struct("neuron", "sign").n_unique())
    places = {concept: place for place, concept in enumerate(concept_order(concepts["concept"]))}
    rows = [row | {"place": places[row["concept"]]} for row in counted.to_dicts()]
    named = [row | {"concept": readable(row["concept"], 24)} for row in rows]
    return sorted(named, key=lambda row: (row["layer"], row["place"]))


def step_rows(steps: pl.DataFrame, names: Mapping[str, str], least_share: float = 0.25) -> list[Row]:
    """One row per variant, set and step for all concepts together: frequency, and its running mean ``smooth``.

    Steps that fewer than ``least_share`` of a variant's completions reach are left out. ``smooth`` is weighted by the
    number of completions.
    """
    rows = []
    together = steps.filter(concept=ALL)
    for variant, name in names.items():
        for kind in ("concept", "random"):
            line = together.filter(variant=variant, set=kind).sort("step")
            if line.is_empty():
                continue
            kept = clean(line.filter(pl.col("steps") >= least_share * pl.col("steps").max()))
            for place, row in enumerate(kept):
                near = kept[max(0, place - _ON_EACH_SIDE) : place + _ON_EACH_SIDE + 1]
                weight = sum(other["steps"] for other in near)
                smooth = sum((other["frequency"] or 0) * other["steps"] for other in near) / weight
                rows.append(row | {"variant": name, "smooth": smooth})
    return rows


def percentages(row: Row, *fields: str) -> Row:
    """These ``fields`` of a row, shares of one, as percentages."""
    return {field: None if row[field] is None else 100 * row[field] for field in fields}


def unique(rows: Sequence[Row], field: str) -> list[str]:
    """The values of ``field``, each once, in their order."""
    return list(dict.fromkeys(row[field] for row in rows))


def clean(frame: pl.DataFrame) -> list[Row]:
    """The rows of ``frame``, NaN as None."""
    return frame.with_columns(pl.selectors.float().fill_nan(None)).to_dicts()
