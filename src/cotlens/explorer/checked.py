"""Files of a run, looked at before they are read: they must lie in the run, and be what the manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cotlens.errors import InputError
from cotlens.store import Manifest, PartRecord

__all__ = ["MANIFEST", "check_inside", "check_part", "find_damage"]

MANIFEST = "manifest.json"

#: Larger files are checked by their size alone; reading them through would take seconds.
_MOST_HASHED = 64 * 2**20


def check_inside(folder: Path, name: str) -> Path:
    """The file ``name`` of the run in ``folder``.

    Raises:
        InputError: it leads out of the folder, by its name or by a link.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name}: leads out of the run directory, so it is not read")
    return path


def check_part(folder: Path, name: str, part: PartRecord) -> Path:
    """The file ``name``, found to be as the manifest has it.

    Raises:
        InputError: it is missing, leads out of the run, or has another size or checksum.
    """
    path = check_inside(folder, name)
    try:
        size = path.stat().st_size
        whole = size in _sizes(part, size) and (size > _MOST_HASHED or _digest(path) in (part.sha256, part.next_sha256))
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror}); `cotlens run` makes it again") from None
    if not whole:
        raise InputError(f"{name}: damaged, its checksum is not the one in the manifest; `cotlens run` makes it again")
    return path


def find_damage(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files that the manifest names, as far as their names and sizes tell."""
    found = []
    for record in manifest.stages.values():
        for name, part in record.parts.items():
            try:
                size = check_inside(folder, name).stat().st_size
            except InputError as error:
                found.append(str(error))
            except (OSError, ValueError):
                found.append(f"{name}: missing")
            else:
                if size not in _sizes(part, size):
                    found.append(f"{name}: {size:,} bytes, expected {part.size_bytes:,}")
    return found


def _sizes(part: PartRecord, size: int) -> tuple[int, ...]:
    """The sizes that the file may have; a file about to be replaced may have any."""
    return (size,) if part.next_sha256 else (part.size_bytes,)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
