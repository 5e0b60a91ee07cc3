"""Building the index of a run: one pass over its activations, with memory that does not grow with their number."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int8, Int16

from cotlens.analyze.step_roles import ROLES, TOKENS, stored_roles
from cotlens.errors import InputError
from cotlens.explorer.index_files import index_parts, write_index
from cotlens.explorer.layer_buffer import LayerBuffer
from cotlens.explorer.part_rows import Chunk, read_chunks, read_segments
from cotlens.explorer.strongest import StrongestContexts
from cotlens.explorer.tally import BINS, UNSEEN, LayerRows, LayerTally
from cotlens.store import PartRecord, Run
from cotlens.types import Progress

__all__ = ["build_index"]

#: Most spans of steps that are told apart; their width is the smallest of these that makes do.
_SPANS = 20
_WIDTHS = [times * ten for ten in (1, 10, 100, 1000, 10_000) for times in (1, 2, 5)]


#: Files read at once. Each holds a piece of its file, so more would take more memory than the tables.
_THREADS = 2


def build_index(run: Run, folder: Path, progress: Progress) -> None:
    """Read all activations of ``run`` and write what was found to ``folder``.

    Raises:
        InputError: a part is missing or damaged; the message names it.
        EnvironmentFault: the folder can't be written.
    """
    parts = index_parts(run)
    record = run.manifest.stages["discover"].parts
    progress.begin("index", len(parts))
    with _threads() as pool:
        completions = _find_completions(run, parts, pool)
        building = _Building(run, completions, _roles_of_steps(run, completions))

        def add(number: int) -> None:
            path = run.path / parts[number]
            _check(path, record[parts[number]])  # reads it just before it is read again, so that it comes from memory
            building.add_part(number, path)

        for _ in pool.map(add, range(len(parts))):
            progress.advance(1)
    write_index(folder, building.facts() | {"parts": parts}, building.contexts())


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A pool that an error, or Ctrl-C, does not leave to work through what is still waiting."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _find_completions(run: Run, parts: list[str], pool: ThreadPoolExecutor) -> pl.DataFrame:
    """As `IndexFiles.completions`; of each part three narrow columns are read."""
    found = pool.map(lambda part: read_segments(run.path / part), parts)
    rows = [
        (one.variant, one.question_id, number, one.row, one.rows, one.steps)
        for number, segments in enumerate(found)
        for one in segments
    ]
    types = {"variant": pl.String, "question_id": pl.String, "part": pl.Int32}
    types |= {"row": pl.Int64, "rows": pl.Int64, "steps": pl.Int64}
    frame = pl.DataFrame(rows, schema=types, orient="row")
    twice = frame.filter(~pl.struct("variant", "question_id").is_first_distinct())
    if twice.height:
        variant, question, part = twice.row(0)[:3]
        raise InputError(
            f"{run.path / parts[part]}: the rows of question {question!r}, variant {variant!r}, are not together; "
            "run `cotlens run` again to mend it"
        )
    return frame.with_columns(first_step=pl.col("steps").cum_sum() - pl.col("steps"))


def _check(path: Path, part: PartRecord) -> None:
    """Raise an `InputError` if the file is not what the manifest says: the index is kept under that checksum."""
    try:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); run `cotlens run` again to mend it") from None
    if checksum not in (part.sha256, part.next_sha256):
        raise InputError(f"{path}: checksum does not match; run `cotlens run` again to mend it")


def _roles_of_steps(run: Run, completions: pl.DataFrame) -> Int8[np.ndarray, "kinds steps"]:
    """Of every step, by its number in the run, the roles of `TOKENS`; of no kind for a run without tokens."""
    steps = int(completions["steps"].sum())
    found = np.full((len(TOKENS), steps), ROLES.index("text"), dtype=np.int8)
    own = completions.select("variant", "question_id", "steps", "first_step")
    for variant in completions["variant"].unique(maintain_order=True):  # one after the other takes less memory
        roles = stored_roles(run, variant)
        if roles is None:
            return np.zeros((0, steps), dtype=np.int8)
        known = roles.join(own, on=["variant", "question_id"]).filter(pl.col("step") < pl.col("steps"))
        step = (known["first_step"] + known["step"]).to_numpy()
        for kind, name in enumerate(TOKENS):
            found[kind, step] = known[name].to_numpy()
    return found


class _Building:
    """The tables of a run, and what is known of its steps. Parts may be added by several threads."""

    def __init__(self, run: Run, completions: pl.DataFrame, roles: Int8[np.ndarray, "kinds steps"]) -> None:
        self._completions = completions
        self._variants = _in_order(completions["variant"].unique(maintain_order=True).to_list(), run)
        self._part, self._row, self._first_step, self._steps = (
            completions[name].to_numpy() for name in ("part", "row", "first_step", "steps")
        )
        longest = int(self._steps.max(initial=1))
        self._step_width = next(width for width in _WIDTHS if width * _SPANS >= longest)
        self._spans = -(-longest // self._step_width)
        self._columns = self._columns_of_steps(roles)
        self._n_columns = len(self._variants) + self._spans + len(roles) * len(ROLES)
        self._layers, self._width, self._k = _sizes(run)
        self._of_thread = threading.local()
        signed = 2 * self._width
        self._counts = np.zeros((self._layers, self._n_columns, signed), np.int32)
        self._histograms = np.zeros((self._layers, signed, BINS), np.int32)
        self._scale = np.full((self._layers, self._width), UNSEEN, np.int16)
        self._tallies = [
            LayerTally(*tables, StrongestContexts(signed))
            for tables in zip(self._counts, self._histograms, self._scale, strict=True)
        ]

    def _columns_of_steps(self, roles: Int8[np.ndarray, "kinds steps"]) -> Int16[np.ndarray, "A steps"]:
        """The columns in which every step counts, by its number in the run."""
        variant = self._completions["variant"].replace_strict(
            {name: place for place, name in enumerate(self._variants)}, return_dtype=pl.Int16
        )  # fmt: skip
        within = np.arange(self._steps.sum()) - np.repeat(self._first_step, self._steps)
        properties = [np.repeat(variant.to_numpy(), self._steps), within // self._step_width, *roles]
        sizes = [len(self._variants), self._spans, *(len(ROLES) for _ in roles)]
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        return np.stack([one.astype(np.int16) + start for one, start in zip(properties, starts, strict=True)])

    def add_part(self, number: int, path: Path) -> None:
        """Count all rows of a part."""
        own = np.flatnonzero(self._part == number)
        buffer: LayerBuffer | None = getattr(self._of_thread, "buffer", None)
        for chunk in read_chunks(path):
            self._check(chunk, path)
            completion = own[np.searchsorted(self._row[own], chunk.first + np.arange(len(chunk.step)), "right") - 1]
            if buffer is None:
                buffer = self._of_thread.buffer = LayerBuffer(self._layers, self._k)
            if buffer.full:
                self._count(buffer, number)
            buffer.add(chunk, self._first_step[completion] + chunk.step)
        if buffer is not None:
            self._count(buffer, number)

    def _check(self, chunk: Chunk, path: Path) -> None:
        k = chunk.neuron.shape[1]
        if k != self._k:
            raise InputError(f"{path}: {k} neurons in a row, {self._k} expected; run `cotlens run` again to mend it")
        for name, values, end in (("layer", chunk.layer, self._layers), ("neuron", chunk.neuron, self._width)):
            if values.size and not 0 <= int(values.min()) <= int(values.max()) < end:
                raise InputError(
                    f"{path}: a {name} that is not between 0 and {end - 1}, which is what the run's model has; "
                    "run `cotlens run` again to mend it"
                )

    def _count(self, buffer: LayerBuffer, number: int) -> None:
        """Count what the buffer holds, and empty it."""
        by_layer = buffer.rows_by_layer()
        first = number * self._layers // _THREADS  # threads begin at different layers
        for place in range(first, first + self._layers):
            layer = place % self._layers
            rows = by_layer[layer]
            step = buffer.step[rows]
            found = LayerRows(
                buffer.neuron[rows], buffer.coefficient[rows], buffer.score[rows], step, self._columns[:, step]
            )
            with self._tallies[layer].lock:
                self._tallies[layer].add(found)
        buffer.clear()

    def facts(self) -> dict[str, Any]:
        """The fields of `IndexFiles`, but for ``parts`` and ``contexts``."""
        held = np.concatenate([tally.contexts.count() for tally in self._tallies])
        return {
            "layers": self._layers,
            "width": self._width,
            "variants": self._variants,
            "spans": self._spans,
            "step_width": self._step_width,
            "column_steps": np.bincount(self._columns.ravel(), minlength=self._n_columns).tolist(),
            "completions": self._completions,
            "counts": self._counts,
            "histograms": self._histograms,
            "scale": self._scale,
            "context_starts": np.concatenate([[0], np.cumsum(held)]),
        }

    def contexts(self) -> Iterator[np.ndarray]:
        """The strongest contexts, layer by layer; afterwards they are gone."""
        for tally in self._tallies:
            yield tally.contexts.take()


def _in_order(variants: list[str], run: Run) -> list[str]:
    """As the run's configuration names them; what it does not name comes last."""
    order = run.config.prompt.variants
    return sorted(variants, key=lambda name: order.index(name) if name in order else len(order))


def _sizes(run: Run) -> tuple[int, int, int]:
    """Layers of the model, neurons of each, and neurons in each row of activations."""
    rows = run.scan_activations()
    k = int(rows.select(pl.col("neuron").list.len()).head(1).collect().item() or 0)
    known = run.manifest.model
    if "n_layers" in known and "d_ff" in known:
        return int(known["n_layers"]), int(known["d_ff"]), k
    found = rows.select(pl.col("layer").max(), pl.col("neuron").list.max().max()).collect(engine="streaming")
    layer, neuron = found.row(0)
    return int(layer or 0) + 1, int(neuron or 0) + 1, k
