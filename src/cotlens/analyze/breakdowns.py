"""Activity by layer, by step, and by layer and role together: the random draws pooled, without intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from cotlens.analyze.counting import Counts
from cotlens.analyze.measures import MEASURE_SCHEMA, measure_group, members_of
from cotlens.analyze.sets import SetIndex
from cotlens.analyze.step_roles import ROLES

__all__ = ["by_layer", "by_layer_and_role", "by_step"]

_KEYS: dict[str, Any] = {"variant": pl.String, "concept": pl.String, "set": pl.String}
_SIZES: dict[str, Any] = {"neurons": pl.Float64, "steps": pl.Int64}


def by_layer(counts: Mapping[str, Counts], index: SetIndex) -> pl.DataFrame:
    """One row per variant, concept, set and layer in which the set has neurons; ``neurons`` is their mean number."""
    rows = []
    for variant, count in sorted(counts.items()):
        neurons, scores = (table[0].sum(axis=0)[None] for table in (count.neurons, count.scores))
        any_by_layer = count.any_by_layer.sum(axis=1, keepdims=True)
        steps = np.array([count.steps[0].sum()])
        for key, layer, measures, size in _layers(index, neurons, scores, any_by_layer, steps):
            rows.append(_row(variant, key, {"layer": layer}, size, steps, measures, 0))
    return _frame(rows, {"layer": pl.Int32})


def by_layer_and_role(counts: Mapping[str, Counts], index: SetIndex) -> pl.DataFrame:
    """One row per variant, concept, set, layer and role of the token predicted."""
    rows = []
    for variant, count in sorted(counts.items()):
        steps = count.steps[0].sum(axis=0)
        present = np.flatnonzero(steps)
        for key, layer, measures, size in _layers(index, count.neurons[0], count.scores[0], count.any_by_layer, steps):
            rows += [
                _row(variant, key, {"layer": layer, "role": ROLES[role]}, size, steps, measures, role)
                for role in map(int, present)
            ]
    return _frame(rows, {"layer": pl.Int32, "role": pl.String})


def by_step(counts: Mapping[str, Counts], index: SetIndex) -> pl.DataFrame:
    """One row per variant, concept, set and step."""
    rows = []
    for variant, count in sorted(counts.items()):
        for concept, kind, columns in index.groups():
            own, opposite = members_of(index, columns)
            measures = measure_group(
                count.neurons_by_step, count.scores_by_step, count.any_by_step[:, columns].sum(axis=1),
                count.reached, own, opposite, len(columns),
            )  # fmt: skip
            size = len(own) / len(columns)
            rows += [
                _row(variant, (concept, kind), {"step": step}, size, count.reached, measures, step)
                for step in map(int, np.flatnonzero(count.reached))
            ]
    return _frame(rows, {"step": pl.Int32})


Key = tuple[str, str]


def _layers(
    index: SetIndex, neurons: np.ndarray, scores: np.ndarray, any_by_layer: np.ndarray, steps: np.ndarray
) -> Iterator[tuple[Key, int, dict[str, Any], float]]:
    """Concept and set, layer, its measures over the cells ``C``, and the mean number of neurons.

    Args:
        index: the sets.
        neurons: ``[C, U]``; ``scores`` likewise.
        any_by_layer: ``[L, C, S]``.
        steps: ``[C]``.
    """
    for concept, kind, columns in index.groups():
        own, opposite = members_of(index, columns)
        for layer in np.unique(index.layers[own]):
            here, other = own[index.layers[own] == layer], opposite[index.layers[opposite] == layer]
            with_any = any_by_layer[layer][:, columns].sum(axis=1)
            measures = measure_group(neurons, scores, with_any, steps, here, other, len(columns))
            yield (concept, kind), int(layer), measures, len(here) / len(columns)


def _row(
    variant: str, key: Key, cell: dict[str, Any], size: float, steps: np.ndarray, measures: dict[str, Any], place: int
) -> dict[str, Any]:
    concept, kind = key
    return (
        {"variant": variant, "concept": concept, "set": kind}
        | {name: value if isinstance(value, str) else int(value) for name, value in cell.items()}
        | {"neurons": size, "steps": int(steps[place])}
        | {name: float(values[place]) for name, values in measures.items()}
    )


def _frame(rows: list[dict[str, Any]], cell: dict[str, Any]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=_KEYS | cell | _SIZES | MEASURE_SCHEMA)
    return frame.sort("variant", "concept", "set", *cell)
