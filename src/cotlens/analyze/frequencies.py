"""How often the neurons of a concept are active, under each variant and by the role of the token, beside random ones.

The frequency of a set is its active neuron-steps over all its neuron-steps; questions are the clusters of its bootstrap
interval. The published conclusions rest on such counts, for which no code was published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from cotlens.analyze.bootstrap import draw_weights, interval, ratio, resampled_ratios
from cotlens.analyze.counting import Counts
from cotlens.analyze.measures import MEASURE_SCHEMA, measure_group, members_of
from cotlens.analyze.sets import SetIndex
from cotlens.analyze.step_roles import ROLES, TOKENS
from cotlens.config import AnalyzeConfig

__all__ = ["frequencies", "frequencies_by_role"]

_SCHEMA: dict[str, Any] = {
    "variant": pl.String, "concept": pl.String, "set": pl.String, "neurons": pl.Int64, "draws": pl.Int64,
    "questions": pl.Int64, "steps": pl.Int64, "low": pl.Float64, "high": pl.Float64, **MEASURE_SCHEMA,
}  # fmt: skip
_FIRST = ["variant", "concept", "set", "neurons", "draws", "questions", "steps", "frequency", "low", "high"]


def frequencies(counts: Mapping[str, Counts], index: SetIndex, config: AnalyzeConfig, seed: int) -> pl.DataFrame:
    """One row per variant, concept and set, over all tokens.

    Returns:
        ``frequency`` with ``low`` and ``high`` and the other measures. For a concept these are a bootstrap interval
        over questions; for ``random``, ``frequency`` is the mean over the draws and the interval spans the draws.
    """
    rows = [
        row
        for variant, count in sorted(counts.items())
        for row in _rows(_together(count), variant, index, config, seed)
    ]
    frame = pl.DataFrame([{k: v for k, v in row.items() if k not in ("token", "role")} for row in rows], schema=_SCHEMA)
    return frame.select(*_FIRST, pl.exclude(_FIRST))


def frequencies_by_role(
    counts: Mapping[str, Counts], index: SetIndex, config: AnalyzeConfig, seed: int
) -> pl.DataFrame:
    """`frequencies` for each role that the completions have, of the token predicted and of the token read.

    ``token`` says whose role it is; ``questions`` counts those that have a token of this role.
    """
    rows = [row for variant, count in sorted(counts.items()) for row in _rows(count, variant, index, config, seed)]
    frame = pl.DataFrame(rows, schema={"token": pl.String, "role": pl.String} | _SCHEMA)
    return frame.select("variant", "token", "role", *_FIRST[1:], pl.exclude("variant", "token", "role", *_FIRST))


class _Cells:
    """Counts over cells of one kind: ``steps`` ``[Q, C]``, ``active`` ``[Q, C, S]`` and so on."""

    def __init__(self, names: list[tuple[str, str]], count: Counts, steps: np.ndarray, active: np.ndarray) -> None:
        self.names = names
        self.count = count
        self.steps = steps
        self.active = active
        self.any: np.ndarray
        self.neurons: np.ndarray
        self.scores: np.ndarray


def _together(count: Counts) -> _Cells:
    """One cell: every token."""
    cells = _Cells([("", "all")], count, count.steps[0].sum(axis=1)[:, None], count.by_question[0].sum(axis=1)[:, None])
    cells.any = count.any_by_role[0].sum(axis=0)[None]
    cells.neurons, cells.scores = (table[0].sum(axis=0)[None] for table in (count.neurons, count.scores))
    return cells


def _rows(source: Counts | _Cells, variant: str, index: SetIndex, config: AnalyzeConfig, seed: int) -> list[Any]:
    found = []
    for cells in [source] if isinstance(source, _Cells) else _by_role(source):
        weights = draw_weights(len(cells.count.questions), config.bootstrap, seed)
        for concept, kind, columns in index.groups():
            found += _group_rows(cells, variant, (concept, kind), columns, index, weights, config.confidence)
    return found


def _by_role(count: Counts) -> list[_Cells]:
    """The roles that occur, for each kind of token."""
    found = []
    for kind, token in enumerate(TOKENS):
        present = np.flatnonzero(count.steps[kind].sum(axis=0))
        names = [(token, ROLES[role]) for role in present]
        cells = _Cells(names, count, count.steps[kind][:, present], count.by_question[kind][:, present])
        cells.any = count.any_by_role[kind][present]
        cells.neurons, cells.scores = (table[kind][present] for table in (count.neurons, count.scores))
        found.append(cells)
    return found


def _group_rows(
    cells: _Cells,
    variant: str,
    named: tuple[str, str],
    columns: np.ndarray,
    index: SetIndex,
    weights: np.ndarray,
    confidence: float,
) -> list[dict[str, Any]]:
    """One row per cell for one concept or its random sets."""
    concept, kind = named
    own, opposite = members_of(index, columns)
    steps = cells.steps.sum(axis=0)
    measures = measure_group(
        cells.neurons, cells.scores, cells.any[:, columns].sum(axis=1), steps, own, opposite, len(columns)
    )
    sizes = index.sizes[columns]
    if kind == "concept":
        samples = resampled_ratios(weights, cells.active[:, :, columns[0]], cells.steps * sizes[0])
        low, high = interval(samples, weights.shape[1], confidence)
    else:
        by_draw = ratio(cells.active[:, :, columns].sum(axis=0), steps[:, None] * sizes)
        low, high = np.quantile(by_draw, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    return [
        {
            "variant": variant, "token": token, "role": role, "concept": concept, "set": kind,
            "neurons": round(len(own) / len(columns)), "draws": len(columns),
            "questions": int((cells.steps[:, place] > 0).sum()), "steps": int(steps[place]),
            "low": float(low[place]), "high": float(high[place]),
        }
        | {name: float(values[place]) for name, values in measures.items()}
        for place, (token, role) in enumerate(cells.names)
    ]  # fmt: skip
