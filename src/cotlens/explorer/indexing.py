"""Building the index of a run: one pass over its activations, with memory that does not grow with their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int8

from cotlens.analyze.step_roles import ROLES, TOKENS, stored_roles
from cotlens.errors import InputError
from cotlens.explorer.index_files import IndexFiles, index_parts, write_index
from cotlens.explorer.part_rows import Chunk, read_chunks, read_segments
from cotlens.explorer.tally import CONTEXT, Entries, LayerTally
from cotlens.store import Run
from cotlens.types import Progress

__all__ = ["build_index"]

#: Most spans of steps that are told apart; their width is the smallest of these that makes do.
_SPANS = 20
_WIDTHS = [times * ten for ten in (1, 10, 100, 1000, 10_000) for times in (1, 2, 5)]


def build_index(run: Run, folder: Path, progress: Progress) -> None:
    """Read all activations of ``run`` and write what was found to ``folder``.

    Raises:
        InputError: a part is missing or damaged; the message names it.
        EnvironmentFault: the folder can't be written.
    """
    parts = index_parts(run)
    completions = _find_completions(run, parts)
    roles = _roles_of_steps(run, completions)
    builder = _Builder(run, completions, roles)
    progress.begin("index", len(parts))
    for number, part in enumerate(parts):
        for chunk in read_chunks(run.path / part):
            builder.add(number, chunk)
        progress.advance(1)
    write_index(folder, builder.finish(parts))


def _find_completions(run: Run, parts: list[str]) -> pl.DataFrame:
    """As `IndexFiles.completions`."""
    rows = [
        (found.variant, found.question_id, number, found.row, found.rows, found.steps)
        for number, part in enumerate(parts)
        for found in read_segments(run.path / part)
    ]
    types = {"variant": pl.String, "question_id": pl.String, "part": pl.Int32}
    types |= {"row": pl.Int64, "rows": pl.Int64, "steps": pl.Int64}
    frame = pl.DataFrame(rows, schema=types, orient="row")
    twice = frame.filter(pl.struct("variant", "question_id").is_duplicated())
    if twice.height:
        variant, question, part = twice.row(0)[:3]
        raise InputError(
            f"{run.path / parts[part]}: the rows of question {question!r}, variant {variant!r}, are not together; "
            f"run `cotlens run` again to mend it"
        )
    return frame.with_columns(first_step=pl.col("steps").cum_sum() - pl.col("steps"))


def _roles_of_steps(run: Run, completions: pl.DataFrame) -> Int8[np.ndarray, "2 steps"] | None:
    """Of every step, by its number in the run, the roles of `TOKENS`; None for a run without tokens."""
    roles = stored_roles(run)
    if roles is None:
        return None
    found = np.full((len(TOKENS), int(completions["steps"].sum())), ROLES.index("text"), dtype=np.int8)
    known = roles.join(completions.select("variant", "question_id", "steps", "first_step"),
                       on=["variant", "question_id"]).filter(pl.col("step") < pl.col("steps"))  # fmt: skip
    step = (known["first_step"] + known["step"]).to_numpy()
    for kind, name in enumerate(TOKENS):
        found[kind, step] = known[name].to_numpy()
    return found


class _Builder:
    """Takes chunks in any order."""

    def __init__(self, run: Run, completions: pl.DataFrame, roles: np.ndarray | None) -> None:
        self._completions = completions
        self._variants = completions["variant"].unique(maintain_order=True).to_list()
        number = {name: place for place, name in enumerate(self._variants)}
        self._variant = completions["variant"].replace_strict(number, return_dtype=pl.Int32).to_numpy()
        self._part, self._row, self._first_step, self._steps = (
            completions[name].to_numpy() for name in ("part", "row", "first_step", "steps")
        )
        longest = int(self._steps.max()) if len(self._steps) else 1
        self._step_width = next(width for width in _WIDTHS if width * _SPANS >= longest)
        self._spans = -(-longest // self._step_width)
        steps = int(self._steps.sum())
        self._has_roles = roles is not None
        self._roles = np.zeros((len(TOKENS), steps), np.int8) if roles is None else roles
        self._layers, self._width = _sizes(run)
        self._tallies: list[LayerTally] = [self._empty() for _ in range(self._layers)]

    def add(self, part: int, chunk: Chunk) -> None:
        own = np.flatnonzero(self._part == part)
        completion = own[np.searchsorted(self._row[own], chunk.first + np.arange(len(chunk.step)), side="right") - 1]
        number = self._first_step[completion] + chunk.step
        order = np.argsort(chunk.layer, kind="stable")
        bounds = np.searchsorted(chunk.layer[order], np.arange(self._layers + 1))
        k = chunk.neuron.shape[1]
        for tally, start, end in zip(self._tallies, bounds[:-1], bounds[1:], strict=True):
            rows = order[start:end]
            moving = np.flatnonzero(chunk.coefficient[rows].ravel() != 0)  # a coefficient of zero has no sign
            entry = rows[moving // k] if k else moving
            tally.add(
                Entries(
                    neuron=chunk.neuron[rows].ravel()[moving],
                    coefficient=chunk.coefficient[rows].ravel()[moving],
                    score=chunk.score[rows].ravel()[moving],
                    rank=(moving % k).astype(np.uint8),
                    step=number[entry].astype(np.uint32),
                    variant=self._variant[completion[entry]],
                    span=chunk.step[entry] // self._step_width,
                    roles=self._roles[:, number[entry]],
                )
            )

    def finish(self, parts: list[str]) -> IndexFiles:
        for tally in self._tallies:
            tally.settle()
        signed = [tally.signed[0] + 2 * self._width * layer for layer, tally in enumerate(self._tallies)]
        held = np.bincount(np.concatenate(signed), minlength=2 * self._width * self._layers)
        within = np.concatenate([np.arange(steps) for steps in self._steps.tolist()] or [np.zeros(0, int)])
        return IndexFiles(
            layers=self._layers,
            width=self._width,
            variants=self._variants,
            variant_steps=np.bincount(self._variant, self._steps, minlength=len(self._variants)).astype(int).tolist(),
            step_width=self._step_width,
            span_steps=np.bincount(within // self._step_width, minlength=self._spans).tolist(),
            role_steps=[np.bincount(own, minlength=len(ROLES)).tolist() for own in self._roles],
            has_roles=self._has_roles,
            parts=parts,
            completions=self._completions,
            histogram=np.stack([tally.histogram for tally in self._tallies]),
            scale=np.stack([tally.scale for tally in self._tallies]),
            by_variant=np.stack([tally.by_variant for tally in self._tallies], axis=1),
            by_step=np.stack([tally.by_step for tally in self._tallies]),
            by_role=np.stack([tally.by_role for tally in self._tallies]),
            context_starts=np.concatenate([[0], np.cumsum(held)]),
            contexts=np.concatenate([np.zeros(0, CONTEXT), *(tally.contexts[0] for tally in self._tallies)]),
        )

    def _empty(self) -> LayerTally:
        return LayerTally.empty(self._width, len(self._variants), self._spans, len(ROLES))


def _sizes(run: Run) -> tuple[int, int]:
    """Layers of the model, and neurons of each."""
    known = run.manifest.model
    if "n_layers" in known and "d_ff" in known:
        return int(known["n_layers"]), int(known["d_ff"])
    found = (
        run.scan_activations()
        .select(pl.col("layer").max(), pl.col("neuron").list.max().max())
        .collect(engine="streaming")
    )
    return int(found["layer"].item() or 0) + 1, int(found["neuron"].item() or 0) + 1
