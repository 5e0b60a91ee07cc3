"""The run directory: what is in it, what is complete, and how it gets there without ever being half there.

Every file is written under a temporary name in the same folder, synced, renamed, and then named in
``manifest.json`` with its checksum. A file that the manifest does not name does not exist for cotlens,
whatever a crash left behind. One process writes at a time, held by a lock file made with ``O_EXCL``, which
also works on network file systems.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cotlens.config import RunConfig, differences
from cotlens.errors import EnvironmentFault, InputError, RunMismatchError
from cotlens.files import read_jsonl, write_atomic
from cotlens.grouped_parquet import grouped_parquet
from cotlens.lock import LOCK, hold_lock
from cotlens.old_formats import bring_up
from cotlens.run_card import run_card

__all__ = ["Manifest", "PartRecord", "Run", "RunWriter", "StageRecord", "damaged_parts", "open_run", "read_manifest"]

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
_RECORDED_PACKAGES = (
    "cotlens",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "polars",
    "altair",
    "openai",
    "anthropic",
)

logger = logging.getLogger(__name__)


class PartRecord(BaseModel):
    """One complete file of a stage."""

    model_config = ConfigDict(extra="forbid")
    sha256: str
    size_bytes: int
    rows: int | None = None
    next_sha256: str | None = None
    """Of the content that is about to take this file's place; whichever a crash leaves is whole."""


class StageRecord(BaseModel):
    """What a stage has made so far; ``key`` is a hash of its configuration and inputs, ``tables`` of what its files
    under ``analysis/`` depend on beside."""

    model_config = ConfigDict(extra="forbid")
    key: str
    tables: str = ""
    status: Literal["running", "done"] = "running"
    parts: dict[str, PartRecord] = Field(default_factory=dict)
    duration_s: float = 0.0
    finished_at: str | None = None


class Manifest(BaseModel):
    """``manifest.json``."""

    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    created_at: str
    config: RunConfig
    packages: dict[str, str] = Field(default_factory=dict)
    model: dict[str, Any] = Field(default_factory=dict)
    generator: dict[str, Any] = Field(default_factory=dict)
    """The server that the completions came from; empty for the model itself."""
    prompts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)


class Run:
    """A run directory, read. Frames are polars; ``.to_pandas()`` works on each."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def config(self) -> RunConfig:
        return self.manifest.config

    def is_done(self, stage: str) -> bool:
        record = self.manifest.stages.get(stage)
        return record is not None and record.status == "done"

    def completions(self) -> pl.DataFrame:
        """One row per variant and question: text, token ids, answers, grade."""
        return self._frame("generate", "completions/")

    def tokens(self) -> pl.DataFrame:
        """One row per token of prompt and completion: text, part, demonstration, line and role.

        The tokens that all prompts of a variant begin with stand there once, with ``question_id`` null.
        """
        return self._frame("generate", "tokens/")

    def scan_tokens(self) -> pl.LazyFrame:
        """`tokens`, lazily."""
        return pl.scan_parquet(self.part_paths("generate", "tokens/"))

    def activations(self) -> pl.DataFrame:
        """One row per variant, question, step and layer: the top-K neurons with coefficients and scores."""
        return self._frame("discover", "activations/")

    def scan_activations(self) -> pl.LazyFrame:
        """`activations`, lazily, for runs that do not fit in memory."""
        return pl.scan_parquet(self.part_paths("discover", "activations/"))

    def neurons(self) -> pl.DataFrame:
        """One row per projected neuron: hits, and the tokens it promotes and suppresses."""
        return self._frame("project", "neurons.parquet")

    def similar(self) -> pl.DataFrame:
        """One row per projected neuron: those with the most similar value vectors, and their cosines.

        Raises:
            InputError: also where ``project.similar`` is 0.
        """
        return self._optional("similar", "similar.parquet", f"project {self.path} --set project.similar=10")

    def lens(self) -> pl.DataFrame:
        """One row per variant, question, step and layer: the tokens that the residual stream would say next.

        Raises:
            InputError: also where ``discover.logit_lens`` is 0.
        """
        return self._optional("discover", "lens/", f"discover {self.path} --set discover.logit_lens=5")

    def concepts(self) -> pl.DataFrame:
        """One row per neuron, sign and concept that the judge confirmed: the reasoning neurons."""
        return self._frame("label", "concepts.parquet")

    def reliability(self) -> pl.DataFrame:
        """How far the judges can be trusted: one row per measure, judge and concept."""
        return self._frame("label", "reliability.parquet")

    def frequencies(self) -> pl.DataFrame:
        """Activation frequency of each concept's neurons, and of random ones, under each variant."""
        return self._frame("analyze", "analysis/frequencies.parquet")

    def analysis(self, name: str) -> pl.DataFrame:
        """The table ``analysis/NAME.parquet``, whether the stage ``analyze`` or ``intervene`` made it."""
        part = f"analysis/{name}.parquet"
        return self._frame("intervene" if self.has_parts("intervene", part) else "analyze", part)

    def has_analysis(self, name: str) -> bool:
        """Whether the run has the table ``analysis/NAME.parquet``; one made before there was such a table has not."""
        return any(self.has_parts(stage, f"analysis/{name}.parquet") for stage in ("analyze", "intervene"))

    def interventions(self) -> pl.DataFrame:
        """One row per neuron set, draw and question: the answer that remains, and whether it is correct."""
        return self._frame("intervene", "interventions/")

    def intervention_sets(self) -> pl.DataFrame:
        """One row per member of each neuron set that was edited, the random ones included."""
        return self._frame("intervene", "intervention_sets.parquet")

    def specificity(self) -> pl.DataFrame:
        """One row per edit, draw and item: what is left of plain text and of questions without arithmetic."""
        return self._frame("intervene", "specificity/")

    def judgements(self) -> list[dict[str, Any]]:
        """Every reply of the judge, in the order given."""
        if "label" not in self.manifest.stages:
            raise self._missing("label")
        return read_jsonl(self.path / "judgements.jsonl")

    def has_parts(self, stage: str, prefix: str) -> bool:
        """Whether ``stage`` has a complete file whose name begins with ``prefix``."""
        record = self.manifest.stages.get(stage)
        return record is not None and any(name.startswith(prefix) for name in record.parts)

    def part_paths(self, stage: str, prefix: str) -> list[Path]:
        """The complete files of ``stage`` whose names begin with ``prefix``, in name order."""
        record = self.manifest.stages.get(stage)
        names = sorted(name for name in (record.parts if record else {}) if name.startswith(prefix))
        if not names:
            raise self._missing(stage)
        return [self.path / name for name in names]

    def _frame(self, stage: str, prefix: str) -> pl.DataFrame:
        paths = self.part_paths(stage, prefix)
        try:
            return pl.read_parquet(paths)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"{paths[0].parent}: can't be read ({error}); run `cotlens run` again to mend it"
            ) from None

    def _optional(self, stage: str, prefix: str, remedy: str) -> pl.DataFrame:
        """A table that is made only if asked for."""
        if self.has_parts(stage, prefix):
            return self._frame(stage, prefix)
        raise InputError(f"{self.path}: has no {prefix.rstrip('/')}; for that run `cotlens {remedy}`")

    def _missing(self, stage: str) -> InputError:
        return InputError(f"{self.path}: stage {stage!r} has not run; run `cotlens {stage} {self.path}`")

    def _repr_html_(self) -> str:
        return run_card(self)


class RunWriter(Run):
    """A run directory, held by this process for writing. Use as a context manager."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, config: RunConfig, may_differ: bool = False) -> Iterator[Self]:
        """Create a run directory, or go on with the one that is there.

        With ``may_differ`` new settings replace the old; stages whose key they change are made again.

        Raises:
            RunMismatchError: the directory holds a run with another configuration.
            RunLockedError: another process holds it.
            EnvironmentFault: the folder can't be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{path}: not a folder; name another one with --out") from None
        except OSError as error:
            raise EnvironmentFault(f"{path}: can't be created: {error.strerror}") from None
        with hold_lock(path):
            if (path / MANIFEST).exists():
                manifest = read_manifest(path)
                if not may_differ and (changed := differences(manifest.config, config)):
                    raise RunMismatchError(
                        f"{path} holds a run with other settings ({'; '.join(changed)}); "
                        "change them back, name another folder with --out, or add --new-run"
                    )
                manifest.config = config
            else:
                _refuse_foreign_folder(path)
                manifest = Manifest(created_at=_now(), config=config, packages=_package_versions())
            writer = cls(path, manifest)
            _remove_temporary_files(path)
            writer.save_manifest()
            yield writer

    def save_manifest(self) -> None:
        write_atomic(self.path / MANIFEST, self.manifest.model_dump_json(indent=1).encode())

    def begin(self, stage: str, key: str, tables: str = "") -> bool:
        """Start or resume ``stage``; False if it is done under this key and all its files are intact.

        With another ``tables`` than before, its files under ``analysis/`` are made again, and nothing else.
        """
        record = self.manifest.stages.get(stage)
        if record is None or record.key != key:
            self.manifest.stages[stage] = StageRecord(key=key, tables=tables)
            self.save_manifest()
            return True
        if record.tables != tables:
            record.tables = tables
            self.reopen_tables(stage)
        damaged = [name for name, part in record.parts.items() if not _intact(self.path / name, part)]
        for name in damaged:
            self._set_aside(name)
            del record.parts[name]
        if damaged:
            record.status = "running"
        self.save_manifest()
        return record.status != "done"

    def finish(self, stage: str, duration_s: float) -> None:
        """Mark ``stage`` as done; ``duration_s`` adds to what earlier, interrupted tries took."""
        record = self.manifest.stages[stage]
        record.status, record.finished_at = "done", _now()
        record.duration_s += duration_s
        self.save_manifest()

    def forget(self, stages: Iterable[str]) -> None:
        """Drop these stages from the manifest: what they read has changed, and they are made again."""
        for stage in stages:
            self.manifest.stages.pop(stage, None)
        self.save_manifest()

    def reopen(self, stage: str) -> None:
        """Have a stage that is done worked on once more; its files stay."""
        if stage in self.manifest.stages:
            self.manifest.stages[stage].status = "running"

    def reopen_tables(self, stage: str) -> None:
        """Have the files of ``stage`` under ``analysis/`` made again, from its other files."""
        self.manifest.stages[stage].status = "running"
        self.forget_parts(stage, lambda name: name.startswith("analysis/"))

    def forget_parts(self, stage: str, is_gone: Callable[[str], bool]) -> None:
        """Take files of ``stage`` out of the manifest by their names, which counts when that is saved next."""
        record = self.manifest.stages[stage]
        record.parts = {name: part for name, part in record.parts.items() if not is_gone(name)}

    def has_part(self, stage: str, name: str) -> bool:
        return name in self.manifest.stages[stage].parts

    def add_frame(self, stage: str, name: str, frame: pl.DataFrame, rows_together: int | None = None) -> None:
        """Write ``frame`` as the Parquet file ``name`` and record it under ``stage``.

        With ``rows_together``, for large tables without nulls, so many rows can be read without the others.
        """
        data = _parquet(frame) if rows_together is None else grouped_parquet(frame, rows_together)
        self.add_bytes(stage, name, data, rows=frame.height)

    def add_bytes(self, stage: str, name: str, data: bytes, rows: int | None = None) -> None:
        """Write ``data`` as the file ``name`` and record it under ``stage``."""
        target = self.path / name
        _make_folder(target.parent)
        write_atomic(target, data)
        self.manifest.stages[stage].parts[name] = PartRecord(
            sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), rows=rows
        )
        self.save_manifest()

    def replace_frame(self, stage: str, name: str, frame: pl.DataFrame) -> None:
        """Put ``frame`` in the place of the complete Parquet file ``name``; after a crash one of the two is there."""
        data = _parquet(frame)
        record = self.manifest.stages[stage].parts[name]
        record.next_sha256 = hashlib.sha256(data).hexdigest()
        self.save_manifest()
        self.add_bytes(stage, name, data, rows=frame.height)

    def record_file(self, stage: str, name: str, rows: int | None = None) -> None:
        """Record a file that was written by appending."""
        data = (self.path / name).read_bytes()
        self.manifest.stages[stage].parts[name] = PartRecord(
            sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), rows=rows
        )
        self.save_manifest()

    def _set_aside(self, name: str) -> None:
        damaged = self.path / name
        if damaged.exists():
            damaged.replace(damaged.with_name(damaged.name + ".damaged"))
            logger.warning("%s: checksum does not match; set aside as %s.damaged and made again", damaged, name)
        else:
            logger.warning("%s: missing; made again", damaged)


def damaged_parts(run: Run) -> list[str]:
    """Names of the files whose checksum is not the one in the manifest."""
    return [
        name
        for record in run.manifest.stages.values()
        for name, part in record.parts.items()
        if not _intact(run.path / name, part)
    ]


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run directory for reading. Needs neither torch nor the model.

    Raises:
        InputError: if ``path`` is not a run directory, or its manifest can't be read.
    """
    folder = Path(path)
    return Run(folder, read_manifest(folder))


def read_manifest(folder: Path) -> Manifest:
    try:
        raw = (folder / MANIFEST).read_bytes()
        return Manifest.model_validate_json(_in_present_format(folder, raw))
    except FileNotFoundError:
        raise InputError(f"{folder}: not a run directory (no {MANIFEST}); make one with `cotlens run`") from None
    except OSError as error:
        raise InputError(f"{folder / MANIFEST}: can't be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{folder / MANIFEST}: damaged at {place or 'its start'}: {first['msg']}; "
            "restore the file, or name another folder with --out"
        ) from None


def _in_present_format(folder: Path, raw: bytes) -> bytes:
    """``raw``, brought up from an earlier format; one that can't be is refused, and what is no JSON left as it is."""
    try:
        found = json.loads(raw)
    except ValueError:
        return raw
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, int) or version == SCHEMA_VERSION:
        return raw
    bring_up(found, SCHEMA_VERSION)
    if found["schema_version"] != SCHEMA_VERSION:
        raise InputError(
            f"{folder}: a run in format {version}, this cotlens reads format {SCHEMA_VERSION}; "
            "use the version that made it, or name another folder with --out"
        )
    return json.dumps(found).encode()


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def _intact(path: Path, part: PartRecord) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() in (part.sha256, part.next_sha256)
    except OSError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{folder}: can't be created: {error.strerror}") from None


def _refuse_foreign_folder(path: Path) -> None:
    foreign = [entry.name for entry in path.iterdir() if entry.name != LOCK and not entry.name.endswith(".tmp")]
    if foreign:
        raise InputError(f"{path}: holds files but no run ({foreign[0]!r}, ...); name an empty folder with --out")


def _remove_temporary_files(path: Path) -> None:
    for leftover in [*path.glob(".*.tmp"), *path.glob("*/.*.tmp")]:
        leftover.unlink(missing_ok=True)


def _package_versions() -> dict[str, str]:
    found = {}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
