"""The active neurons of one completion, as arrays and as the JSON that the page walks through.

Shapes: ``T`` steps, ``L`` layers, ``K`` ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int32

from cotlens.errors import InputError
from cotlens.explorer.attempt import attempt
from cotlens.explorer.neuron_table import SCHEMA, NeuronTable, neuron_table
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record
from cotlens.report.tables import concept_order

__all__ = [
    "ActiveNeurons",
    "Activity",
    "Cell",
    "Step",
    "active_neurons",
    "activity",
    "carried_by",
    "concept_counts",
    "grid",
    "read_step",
]


#: By layer, neuron and sign.
Carried = dict[tuple[int, int, int], list[str]]


@dataclass(frozen=True, slots=True)
class ActiveNeurons:
    neuron: Int32[np.ndarray, "T L K"]
    coefficient: Float32[np.ndarray, "T L K"]
    score: Float32[np.ndarray, "T L K"]


class Activity(Record):
    """How active the concepts are along a completion."""

    variant: str
    question_id: str
    steps: int
    layers: int
    ranks: int
    concepts: dict[str, list[int]]
    """By concept: how many of its neurons are active at each step, with the sign they were labelled with."""


class Cell(Record):
    """A neuron that is active at a step."""

    layer: int
    rank: int
    """Its place among the top-K of its layer, from 0."""
    neuron: int
    coefficient: float
    score: float
    shade: int
    """The score in quarters of the highest in its layer."""
    tokens: list[str]
    """What it promotes with the sign of its coefficient, strongest first; signs stand for spaces and line breaks."""
    concepts: list[str]
    """Those that it was labelled with, with this sign."""


class Step(Record):
    """The active neurons of one step."""

    variant: str
    question_id: str
    step: int
    layers: list[list[Cell]]
    """From layer 0 on; in each the neurons by rank."""


def active_neurons(opened: OpenedRun, variant: str, question_id: str) -> ActiveNeurons:
    """Read the activations of one completion.

    Raises:
        InputError: none are recorded for it.
    """
    rows = opened.activations(variant, question_id)
    if rows.is_empty():
        raise InputError(f"no activations are recorded for question {question_id!r} under {variant!r}")
    steps, layers = int(rows["step"].n_unique()), int(rows["layer"].n_unique())
    if rows.height != steps * layers:
        raise InputError(f"the activations of question {question_id!r} under {variant!r} are not complete")
    sorted_rows = rows.sort("step", "layer")

    def array(name: str, dtype: type[np.generic]) -> np.ndarray:
        return sorted_rows[name].explode().to_numpy().reshape(steps, layers, -1).astype(dtype)

    return ActiveNeurons(array("neuron", np.int32), array("coefficient", np.float32), array("score", np.float32))


def activity(opened: OpenedRun, variant: str, question_id: str) -> Activity:
    """How active the concepts are along one completion."""
    active = active_neurons(opened, variant, question_id)
    steps, layers, ranks = active.neuron.shape
    return Activity(
        variant=variant,
        question_id=question_id,
        steps=steps,
        layers=layers,
        ranks=ranks,
        concepts=concept_counts(opened, active),
    )


def read_step(opened: OpenedRun, variant: str, question_id: str, step: int) -> Step:
    """The active neurons of one step.

    Raises:
        InputError: the completion has no such step, or no activations.
    """
    active = active_neurons(opened, variant, question_id)
    if step >= len(active.neuron):
        raise InputError(f"step {step}: question {question_id!r} has {len(active.neuron)} under {variant!r}")
    return Step(variant=variant, question_id=question_id, step=step, layers=grid(opened, active, step))


def concept_counts(opened: OpenedRun, active: ActiveNeurons) -> dict[str, list[int]]:
    """By concept how many of its neurons are active at each step; empty in a run without labels."""
    if not opened.has("label", "concepts.parquet"):
        return {}
    concepts = attempt(opened.concepts).value
    if concepts is None:
        return {}
    counts = {}
    for concept in concept_order(concepts["concept"]):
        members = concepts.filter(concept=concept)
        counts[concept] = _is_member(active, members).sum(axis=(1, 2)).tolist()
    return counts


def grid(opened: OpenedRun, active: ActiveNeurons, step: int) -> list[list[Cell]]:
    """The cells of one step, layer by layer."""
    table, carried = _table(opened), carried_by(opened)
    rows = []
    for layer in range(active.neuron.shape[1]):
        neurons, coefficients, scores = (
            values[step, layer] for values in (active.neuron, active.coefficient, active.score)
        )
        places = table.rows(np.full(len(neurons), layer), neurons)
        top = float(np.abs(scores).max()) or 1.0
        found = zip(neurons.tolist(), coefficients.tolist(), scores.tolist(), places.tolist(), strict=True)
        rows.append([_cell(layer, rank, values, top, table, carried) for rank, values in enumerate(found)])
    return rows


def _cell(
    layer: int, rank: int, found: tuple[int, float, float, int], top: float, table: NeuronTable, carried: Carried
) -> Cell:
    neuron, coefficient, score, place = found
    sign = 1 if coefficient > 0 else -1
    return Cell(
        layer=layer,
        rank=rank,
        neuron=neuron,
        coefficient=_rounded(coefficient),
        score=_rounded(score),
        shade=max(1, round(4 * abs(score) / top)),
        tokens=table.tokens(place, sign) if place >= 0 else [],
        concepts=carried.get((layer, neuron, sign), []),
    )


def _is_member(active: ActiveNeurons, members: pl.DataFrame) -> Bool[np.ndarray, "T L K"]:
    width = int(active.neuron.max()) + 1
    layers = active.neuron.shape[1]
    table = np.zeros((layers, width, 2), dtype=bool)
    layer, neuron, sign = (members[name].to_numpy() for name in ("layer", "neuron", "sign"))
    inside = (layer < layers) & (neuron < width)
    table[layer[inside], neuron[inside], (sign[inside] < 0).astype(int)] = True
    at = np.arange(layers)[None, :, None]
    found: np.ndarray = table[at, active.neuron, (active.coefficient < 0).astype(int)] & (active.coefficient != 0)
    return found


def carried_by(opened: OpenedRun) -> Carried:
    """The concepts of each labelled neuron and sign."""
    if not opened.has("label", "concepts.parquet"):
        return {}

    def make() -> Carried:
        rows = opened.concepts().group_by("layer", "neuron", "sign").agg(pl.col("concept").unique())
        return {(layer, neuron, sign): concept_order(found) for layer, neuron, sign, found in rows.rows()}

    return attempt(lambda: opened.keep("carried", make)).value or {}


def _table(opened: OpenedRun) -> NeuronTable:
    """An empty one where no neuron was projected, or the table is damaged: what is active shows without tokens."""
    return attempt(lambda: neuron_table(opened)).value or NeuronTable(pl.DataFrame(schema=SCHEMA))


def _rounded(number: float) -> float:
    """To the four significant digits that a page shows."""
    return float(f"{number:.4g}")
