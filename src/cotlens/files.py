"""Files that are at every moment either what they were or complete, files that users write, and hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs
import yaml

from cotlens.errors import DataError, EnvironmentFault, InputError

__all__ = [
    "cache_folder",
    "content_hash",
    "open_for_appending",
    "parse_yaml",
    "read_jsonl",
    "read_text",
    "write_atomic",
]


def cache_folder() -> Path:
    """Where cotlens keeps what it can make again; ``COTLENS_CACHE`` overrides the platform's place."""
    return Path(os.environ.get("COTLENS_CACHE") or platformdirs.user_cache_dir("cotlens"))


def write_atomic(target: Path, data: bytes) -> None:
    """Write ``data`` so that ``target`` is at every moment either what it was or complete.

    Raises:
        EnvironmentFault: disk full, folder read-only, or the like.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # noqa: PTH101
        os.replace(temporary, target)  # noqa: PTH105
        _sync_folder(target.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
        raise EnvironmentFault(
            f"{target}: can't be written: {error.strerror or error}; what was finished before is kept"
        ) from None


def open_for_appending(path: Path) -> BinaryIO:
    """Open a file of lines to append to, without the piece of a line that a crash may have left there."""
    try:
        file = path.open("ab")
        if file.tell():
            raw = path.read_bytes()
            file.truncate(raw.rfind(b"\n") + 1)
        return file
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be written: {error.strerror}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read records written line by line; a last line that a crash cut short is left out."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            if line.strip():
                records.append(json.loads(line))
        except ValueError:
            raise InputError(f"{path}, line {number}: damaged; remove the line or the file") from None
    return records


def read_text(path: Path, error_type: type[InputError] = DataError) -> str:
    """The text of a file that a user wrote, without a byte-order mark.

    Raises:
        InputError: of type ``error_type``, if there is no such file or it is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error_type(f"{path}: no such file") from None
    except IsADirectoryError:
        raise error_type(f"{path}: a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise error_type(f"{path}: can't be read as UTF-8 text: {error}") from None


def parse_yaml(text: str, where: str, error_type: type[InputError] = DataError) -> Any:
    """The plain data in ``text``; ``where`` names it in an error.

    Raises:
        InputError: of type ``error_type``, naming line and problem.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise error_type(f"{place}: not valid YAML: {problem}") from None
    except ValueError as error:  # what looks like a date and is none
        raise error_type(f"{where}: not valid YAML: {error}; put the text in quotation marks") from None


def content_hash(*values: object) -> str:
    """sha256 of the canonical JSON of ``values``."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse to sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
