"""Where every neuron of a run is active, answered at once however large the run is.

The activations of a large run are many gigabytes, sorted by question. The index holds them summed up by neuron, with
each neuron's strongest contexts, and where in which file the rows of a completion lie. It is built once, kept in the
user's cache under the checksums of what it was made from, and read by memory map: opening it reads next to nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from jaxtyping import Int64

from cotlens.analyze.step_roles import ROLES, TOKENS
from cotlens.errors import InputError, near_match
from cotlens.explorer.index_files import IndexFiles, index_folder, load_index
from cotlens.explorer.index_records import Context, NeuronSummary, SharedNeurons
from cotlens.explorer.indexing import build_index
from cotlens.explorer.part_rows import read_rows
from cotlens.explorer.tally import bin_edges
from cotlens.store import Run
from cotlens.types import NeuronId, Progress, Silent

__all__ = ["ActivityIndex"]


class ActivityIndex:
    """The index of one run; make it with `ActivityIndex.open`. Safe to read from several threads."""

    def __init__(self, run: Run, files: IndexFiles) -> None:
        self._run = run
        self._files = files

    @classmethod
    def open(cls, run: Run, progress: Progress | None = None) -> Self:
        """The index of ``run``, from the cache, or built now and put there.

        Raises:
            InputError: the run has no activations yet, or a part of them is missing or damaged; the message names it.
            EnvironmentFault: the cache can't be written.
        """
        folder = index_folder(run)
        files = load_index(folder)
        if files is None:
            build_index(run, folder, progress or Silent())
            files = load_index(folder)
            assert files is not None, f"{folder} was written a moment ago"
        return cls(run, files)

    @property
    def variants(self) -> list[str]:
        """Those with activations, in the order of the run."""
        return list(self._files.variants)

    @property
    def completions(self) -> pl.DataFrame:
        """variant, question_id, steps: the completions with activations."""
        return self._files.completions.select("variant", "question_id", "steps")

    def summary(self, layer: int, neuron: int) -> NeuronSummary:
        """Where a neuron is active; all zeros for one that never is.

        Raises:
            InputError: the model has no such neuron.
        """
        self._check(layer, neuron)
        files, pair = self._files, slice(2 * neuron, 2 * neuron + 2)
        by_column = files.counts[layer, :, pair].astype(np.int64)
        positive, negative = files.histograms[layer, pair].astype(np.int64)
        variants, spans, roles = (_with_hits(axis, by_column) for axis in self._axes)
        return NeuronSummary(
            id=NeuronId(layer, neuron),
            positive=int(positive.sum()),
            negative=int(negative.sum()),
            edges=bin_edges(int(files.scale[layer, neuron])),
            counts=np.concatenate([negative[::-1], positive]),
            variants=variants,
            steps=spans,
            roles=roles,
        )

    def contexts(self, layer: int, neuron: int, limit: int = 20, sign: int | None = None) -> list[Context]:
        """The steps at which a neuron has its highest scores, best first; equal scores in the order of the run.

        Args:
            layer: its layer.
            neuron: its index.
            limit: how many; the index holds 20 for each sign.
            sign: +1 or -1 for contexts with a positive or a negative coefficient only.

        Raises:
            InputError: the model has no such neuron, or ``sign`` is something else.
        """
        self._check(layer, neuron)
        if sign not in (None, 1, -1):
            raise InputError(f"sign is {sign!r}; give 1, -1 or None")
        place = 2 * (layer * self._files.width + neuron)
        first, last = (place, place + 2) if sign is None else (place + (sign < 0), place + 1 + (sign < 0))
        span = slice(int(self._files.context_starts[first]), int(self._files.context_starts[last]))
        found = self._files.contexts[span]
        best = found[np.lexsort((found["step"], -found["score"]))][: max(0, limit)]
        return [self._context(one) for one in best]

    def steps(self, variant: str, question_id: str) -> pl.DataFrame:
        """The activations of one completion: step, token_id, layer, neuron[K], coefficient[K], score[K].

        Raises:
            InputError: there is no such completion among the activations, or its part is missing or damaged.
        """
        place = self._place(variant, question_id)
        row = self._files.completions.row(place, named=True)
        columns = ["step", "token_id", "layer", "neuron", "coefficient", "score"]
        return read_rows(self._run.path / self._files.parts[row["part"]], row["row"], row["rows"], columns)

    def lens(self, variant: str, question_id: str) -> pl.DataFrame | None:
        """The logit lens of one completion: step, layer, token_ids[n], probabilities[n]; None if it was not recorded.

        Raises:
            InputError: there is no such completion among the activations, or its part is missing or damaged.
        """
        row = self._files.completions.row(self._place(variant, question_id), named=True)
        name = self._files.parts[row["part"]].replace("activations/", "lens/", 1)
        if not self._run.has_parts("discover", name):
            return None
        # The same rows as those of the activations, one for each step and layer.
        return read_rows(
            self._run.path / name, row["row"], row["rows"], ["step", "layer", "token_ids", "probabilities"]
        )

    def shared(self, variant_a: str, variant_b: str, other: ActivityIndex | None = None) -> SharedNeurons:
        """Which neurons are active in which of two variants; ``variant_b`` is that of ``other`` if one is given.

        Raises:
            InputError: no such variant, or models of different sizes.
        """
        second = other or self
        if (self._files.layers, self._files.width) != (second._files.layers, second._files.width):
            raise InputError(
                f"{self._run.path} and {second._run.path}: models of different sizes; their neurons can't be compared"
            )
        a, b = self._hits(variant_a), second._hits(variant_b)
        layer, neuron = np.nonzero(a + b)
        return SharedNeurons(
            steps_a=self._variant_steps(variant_a),
            steps_b=second._variant_steps(variant_b),
            shared=int(np.count_nonzero((a > 0) & (b > 0))),
            only_a=int(np.count_nonzero((a > 0) & (b == 0))),
            only_b=int(np.count_nonzero((a == 0) & (b > 0))),
            neurons=pl.DataFrame(
                {
                    "layer": layer.astype(np.int32),
                    "neuron": neuron.astype(np.int32),
                    "hits_a": a[layer, neuron],
                    "hits_b": b[layer, neuron],
                }
            ),
        )

    def _hits(self, variant: str) -> Int64[np.ndarray, "L F"]:
        signed = self._files.counts[:, self._variant(variant)].astype(np.int64)
        hits: np.ndarray = signed[:, ::2] + signed[:, 1::2]
        return hits

    def _variant_steps(self, variant: str) -> int:
        return self._files.column_steps[self._variant(variant)]

    def _variant(self, name: str) -> int:
        if name not in self._files.variants:
            raise InputError(f"variant {name!r} has no activations{near_match(name, self._files.variants)}")
        return self._files.variants.index(name)

    def _place(self, variant: str, question_id: str) -> int:
        self._variant(variant)
        place = self._places.get((variant, question_id))
        if place is None:
            raise InputError(f"question {question_id!r} has no activations under variant {variant!r}")
        return place

    def _check(self, layer: int, neuron: int) -> None:
        files = self._files
        if not (0 <= layer < files.layers and 0 <= neuron < files.width):
            raise InputError(
                f"L{layer}N{neuron}: no such neuron; this run's model has layers 0 to {files.layers - 1} "
                f"and neurons 0 to {files.width - 1}"
            )

    def _context(self, found: np.void) -> Context:
        step = int(found["step"])
        place = int(np.searchsorted(self._first_steps, step, side="right")) - 1
        variant, question = self._names[place]
        return Context(
            variant=variant,
            question_id=question,
            step=step - int(self._first_steps[place]),
            coefficient=float(found["coefficient"]),
            score=float(found["score"]),
            rank=int(found["rank"]),
        )

    @cached_property
    def _axes(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """What the columns of the counts are, with their places and recorded steps: variants, spans of steps, roles."""
        files = self._files
        first = pl.Series("first", range(0, files.spans * files.step_width, files.step_width))
        kinds = len(TOKENS) if len(files.column_steps) > len(files.variants) + files.spans else 0
        names = [
            pl.DataFrame({"variant": files.variants}),
            pl.DataFrame([first, (first + files.step_width - 1).alias("last")]),
            pl.DataFrame({"token": [kind for kind in TOKENS[:kinds] for _ in ROLES], "role": list(ROLES) * kinds},
                         schema={"token": pl.String, "role": pl.String}),
        ]  # fmt: skip
        starts = np.cumsum([0, *(frame.height for frame in names)])
        recorded = pl.Series("steps", files.column_steps)
        variants, spans, roles = (
            frame.with_columns(
                recorded.slice(int(start), frame.height),
                column=pl.int_range(int(start), int(start) + frame.height, dtype=pl.Int64, eager=True),
            )
            for frame, start in zip(names, starts, strict=False)
        )
        return variants, spans, roles

    @cached_property
    def _names(self) -> list[tuple[str, str]]:
        return self._files.completions.select("variant", "question_id").rows()

    @cached_property
    def _places(self) -> dict[tuple[str, str], int]:
        return {name: place for place, name in enumerate(self._names)}

    @cached_property
    def _first_steps(self) -> np.ndarray:
        return self._files.completions["first_step"].to_numpy()


def _with_hits(axis: pl.DataFrame, by_column: Int64[np.ndarray, "C 2"]) -> pl.DataFrame:
    hits = by_column[axis["column"].to_numpy()]
    return axis.drop("column").with_columns(positive=pl.Series(hits[:, 0]), negative=pl.Series(hits[:, 1]))
