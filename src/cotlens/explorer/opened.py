"""A run as the explorer reads it: tables are checked, read once, and kept while the manifest stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from cotlens.errors import InputError
from cotlens.explorer.checked import MANIFEST, CheckedRun, check_inside, find_damage
from cotlens.explorer.index import ActivityIndex
from cotlens.explorer.indexed import PATIENCE_S, IndexInTheMaking
from cotlens.store import Run, open_run
from cotlens.types import Progress

__all__ = ["OpenedRun", "RunFolder"]

T = TypeVar("T")

_COMPLETION_COLUMNS = (
    "variant", "question_id", "question", "gold", "prompt_length", "text", "stop_reason", "answer_strict",
    "answer_flexible", "correct", "correct_flexible", "stated",
)  # fmt: skip


class OpenedRun:
    """One state of a run directory. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.damage = find_damage(run.path, run.manifest)
        self.run = CheckedRun(run.path, run.manifest)
        self._index = IndexInTheMaking(self.make_index)
        self._kept: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def keep(self, key: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once; a failure is not kept."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]  # type: ignore[no-any-return]

    @property
    def variants(self) -> tuple[str, ...]:
        return self.run.config.prompt.variants

    def has(self, stage: str, prefix: str) -> bool:
        """Whether ``stage`` has written a file whose name begins with ``prefix``."""
        return self.run.has_parts(stage, prefix)

    def paths(self, stage: str, prefix: str) -> list[Path]:
        """The files of ``stage`` whose names begin with ``prefix``, each found whole.

        Raises:
            InputError: the stage has not run, or one of the files is missing, damaged or leads out of the run.
        """
        return self.run.part_paths(stage, prefix)

    def frame(self, stage: str, prefix: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of these files; of ``columns`` those that there are."""
        return self.keep(f"frame {stage} {prefix}", lambda: self._read(self.paths(stage, prefix), columns))

    def analysis(self, name: str) -> pl.DataFrame:
        """The table ``analysis/NAME.parquet``, of whichever stage wrote it."""
        return self.keep(f"analysis {name}", lambda: self.run.analysis(name))

    def completions(self) -> pl.DataFrame:
        """As in `Run.completions`, with ``steps`` (generated tokens) and ``part`` for the token ids."""
        return self.keep("completions", self._completions)

    def tokens(self, variant: str, question_id: str) -> pl.DataFrame:
        """The generated tokens of one completion, in order: text, token_id, start, end, role."""
        name = self._part_of(variant, question_id).replace("completions/", "tokens/", 1)
        rows = pl.scan_parquet(self.paths("generate", name))
        found = rows.filter(part="completion", variant=variant, question_id=question_id).sort("position")
        return found.select("text", "token_id", "start", "end", "role").collect()

    def activations(self, variant: str, question_id: str) -> pl.DataFrame:
        """The active neurons of one completion: step, token_id, layer, neuron[K], coefficient[K], score[K]."""
        return self.index().steps(variant, question_id)

    def index(self, patience_s: float = PATIENCE_S) -> ActivityIndex:
        """Where every neuron is active; waited for so long while it is being made.

        Raises:
            InputError: there are no activations, they are damaged, or the index is still being made.
        """
        if not self.has("discover", "activations/"):
            self.paths("discover", "activations/")  # says what is wrong
        return self._index.get(patience_s)

    def make_index(self, progress: Progress) -> ActivityIndex:
        """The index, opened or made now; while it is made, what it is made from is found whole.

        Raises:
            InputError: there are no activations, or they are missing or damaged.
            EnvironmentFault: the cache can't be written.
        """
        return ActivityIndex.open(self.run, progress)

    def concepts(self) -> pl.DataFrame:
        return self.frame("label", "concepts.parquet")

    def judgements(self) -> list[dict[str, Any]]:
        """Every reply of the judges, in the order given."""
        return self.keep("judgements", self.run.judgements)

    def _part_of(self, variant: str, question_id: str) -> str:
        found = self.completions().filter(variant=variant, question_id=question_id)["part"]
        if found.is_empty():
            raise InputError(f"no completion of question {question_id!r} under {variant!r}")
        return str(found[0])

    def _read(self, paths: Sequence[Path], columns: Sequence[str] | None) -> pl.DataFrame:
        frame = pl.scan_parquet(list(paths))
        if columns is not None:
            there = frame.collect_schema().names()
            frame = frame.select(name for name in columns if name in there)
        return frame.collect()

    def _completions(self) -> pl.DataFrame:
        scanned = pl.scan_parquet(self.paths("generate", "completions/"), include_file_paths="part")
        there = scanned.collect_schema().names()
        return scanned.select(
            *(name for name in _COMPLETION_COLUMNS if name in there),
            steps=(pl.col("token_ids").list.len().cast(pl.Int32) - pl.col("prompt_length").cast(pl.Int32)),
            part="completions/" + pl.col("part").str.split("/").list.last(),
        ).collect()


class RunFolder:
    """A run directory that may be written to while it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._opened: OpenedRun | None = None

    def now(self) -> OpenedRun:
        """The run as its manifest has it now.

        Raises:
            InputError: there is no manifest, or it is damaged.
        """
        manifest = check_inside(self.path, MANIFEST)
        try:
            stat = manifest.stat()
        except OSError:
            open_run(self.path)  # says what is wrong
            raise
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            if self._opened is None or state != self._seen:
                self._opened, self._seen = OpenedRun(open_run(self.path)), state
            return self._opened
