"""The index on disk: a folder in the user's cache that appears complete, by one rename.

Its name is a hash of the checksums of all that it was made from, so that a run which grows or is mended gets another.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cotlens.errors import EnvironmentFault
from cotlens.explorer.strongest import CONTEXT
from cotlens.files import cache_folder, content_hash
from cotlens.store import Run

__all__ = ["IndexFiles", "index_folder", "index_parts", "load_index", "write_index"]

#: Of the files below; another one makes all indexes anew.
_FORMAT = 1
_FACTS = "index.json"
_COMPLETIONS = "completions.parquet"
_CONTEXTS = "contexts"
_ARRAYS = ("counts", "histograms", "scale", "context_starts")


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """The content of an index. ``L`` layers, ``F`` neurons, ``C`` columns, ``V`` variants, ``T`` spans of steps."""

    layers: int
    width: int
    variants: list[str]
    spans: int
    """Into how many spans the steps are divided, the last of which may not be full."""
    step_width: int
    """Steps in each span."""
    column_steps: list[int]
    """Recorded steps of each column: of the variants, of the spans, of the roles of the token predicted, and of the
    token read; of no role where these are not known."""
    parts: list[str]
    completions: pl.DataFrame
    """variant, question_id, part, row, rows, steps, first_step; in the order of their rows."""
    counts: np.ndarray
    """int32 [L, C, 2F]: how often neuron ``n`` is active, at ``2n`` with a positive and at ``2n + 1`` with a negative
    coefficient."""
    histograms: np.ndarray
    """int32 [L, 2F, bins]: the same by the size of the coefficient."""
    scale: np.ndarray
    """int16 [L, F]: the power of two at which a neuron's bins end."""
    context_starts: np.ndarray
    """int64 [L * 2F + 1]: where the contexts of each signed neuron begin."""
    contexts: np.ndarray
    """Records of `CONTEXT`, best first for each signed neuron."""


def index_parts(run: Run) -> list[str]:
    """The parts of activations, in name order.

    Raises:
        InputError: there are none yet.
    """
    return [path.relative_to(run.path).as_posix() for path in run.part_paths("discover", "activations/")]


def index_folder(run: Run) -> Path:
    """Where the index of ``run`` lies, or would lie.

    Raises:
        InputError: the run has no activations yet.
    """
    record = run.manifest.stages
    made_from = {name: record["discover"].parts[name].sha256 for name in index_parts(run)}
    if "generate" in record:
        made_from |= {n: part.sha256 for n, part in record["generate"].parts.items() if n.startswith("tokens/")}
    return cache_folder() / "indexes" / content_hash(_FORMAT, made_from)[:32]


def load_index(folder: Path) -> IndexFiles | None:
    """The index in ``folder``, its arrays memory-mapped; None if it is not there or not whole."""
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        completions = pl.read_parquet(folder / _COMPLETIONS, memory_map=False)
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*_ARRAYS, _CONTEXTS)}
        return IndexFiles(**facts, completions=completions, **arrays)
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError):
        return None


def write_index(folder: Path, facts: Mapping[str, Any], contexts: Iterable[np.ndarray]) -> None:
    """Put an index into the cache; of two processes that do so at once, the first wins.

    Args:
        folder: where.
        facts: the fields of `IndexFiles` but for ``contexts``.
        contexts: these, piece by piece.

    Raises:
        EnvironmentFault: the cache can't be written.
    """
    _write_folder(folder, lambda temporary: _write_files(temporary, dict(facts), contexts))


def _write_files(folder: Path, facts: dict[str, Any], contexts: Iterable[np.ndarray]) -> None:
    total = int(facts["context_starts"][-1])
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", facts.pop(name), allow_pickle=False)
    facts.pop("completions").write_parquet(folder / _COMPLETIONS)
    with (folder / f"{_CONTEXTS}.npy").open("wb") as file:
        described = {"descr": np.lib.format.dtype_to_descr(CONTEXT), "fortran_order": False, "shape": (total,)}
        np.lib.format.write_array_header_1_0(file, described)
        for piece in contexts:
            file.write(piece.tobytes())
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
    for written in folder.iterdir():
        descriptor = os.open(written, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _write_folder(target: Path, write: Callable[[Path], None]) -> None:
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        write(temporary)
        if target.is_dir() and load_index(target) is None:  # what is left of a damaged one
            shutil.rmtree(target)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    except OSError as error:
        raise EnvironmentFault(
            f"{target}: can't be written ({error.strerror or error}); free some space, or set COTLENS_CACHE to another "
            "folder"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
