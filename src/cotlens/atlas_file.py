"""The file of an atlas: where it may be written, and what it says of itself. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from cotlens.errors import EnvironmentFault, InputError

__all__ = ["METADATA_KEY", "atlas_metadata", "check_atlas_path", "new_atlas_file"]

#: Where the Parquet file's own metadata holds ours, as JSON.
METADATA_KEY = b"cotlens.atlas"


def check_atlas_path(path: Path | str) -> Path:
    """The path, if an atlas can be written there.

    Raises:
        InputError: it does not end in ``.parquet``, its folder is missing, or it holds something else.
        EnvironmentFault: no file can be made in its folder.
    """
    target = Path(path)
    if target.suffix != ".parquet":
        raise InputError(f"{target}: an atlas is a Parquet file; give a name that ends in .parquet")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}")
    if target.exists() and atlas_metadata(target) is None:
        raise InputError(f"{target}: exists and is no atlas; remove it, or give another name")
    with _told_by_name(target), tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}."):
        return target


def atlas_metadata(path: Path | str) -> dict[str, Any] | None:
    """What an atlas says of itself: model, fingerprint, norm, top_n and the like; None for another file."""
    try:
        stored = (pq.read_schema(path).metadata or {}).get(METADATA_KEY)
        found: dict[str, Any] | None = json.loads(stored) if stored else None
        return found
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def new_atlas_file(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``target`` when the block ends, and is gone when it fails."""
    temporary: str | None = None
    try:
        with _told_by_name(target):
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(target)
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def _told_by_name(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{target}: can't be written: {error.strerror or error}; no part of it is left"
        ) from None
