"""Files of a run, looked at before they are read: they must lie in the run, and be what the manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cotlens.errors import InputError
from cotlens.store import Manifest, PartRecord, Run

__all__ = ["MANIFEST", "CheckedRun", "check_inside", "check_part", "find_damage"]

MANIFEST = "manifest.json"

#: Larger files, and those of which there may be gigabytes, are checked by their size alone.
_MOST_HASHED = 64 * 2**20
_MANY = ("activations/", "lens/", "reread/")


class CheckedRun(Run):
    """A run whose files are found whole before they are read, each once."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, _without_strays(path, manifest))
        self._named = manifest
        self._whole: set[str] = set()

    def part_paths(self, stage: str, prefix: str) -> list[Path]:
        """As of any run.

        Raises:
            InputError: also if one of the files is missing, damaged or leads out of the run.
        """
        record = self._named.stages.get(stage)
        parts = {} if record is None else {name: part for name, part in record.parts.items() if name.startswith(prefix)}
        if not parts:
            what = "has not run" if record is None else f"has written no {prefix.rstrip('/')} yet"
            raise InputError(f"stage {stage!r} {what}; run `cotlens {stage} {self.path}`")
        for name, part in parts.items():
            if name not in self._whole:
                check_part(self.path, name, part, hashed=not name.startswith(_MANY))
                self._whole.add(name)
        return [self.path / name for name in sorted(parts)]

    def judgements(self) -> list[dict[str, Any]]:
        check_inside(self.path, "judgements.jsonl")
        return super().judgements()


def check_inside(folder: Path, name: str) -> Path:
    """The file ``name`` of the run in ``folder``.

    Raises:
        InputError: it leads out of the folder, by its name or by a link.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name}: leads out of the run directory, so it is not read")
    return path


def check_part(folder: Path, name: str, part: PartRecord, hashed: bool = True, most: int | None = _MOST_HASHED) -> Path:
    """The file ``name``, found to be as the manifest has it.

    Raises:
        InputError: it is missing, leads out of the run, or has another size or checksum.
    """
    path = check_inside(folder, name)
    try:
        size = path.stat().st_size
        read = hashed and (most is None or size <= most)
        whole = size in _sizes(part, size) and (not read or _digest(path) in (part.sha256, part.next_sha256))
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


def _without_strays(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest without files that lead out of the run: what it does not name does not exist."""

    def inside(name: str) -> bool:
        try:
            check_inside(folder, name)
        except InputError:
            return False
        return True

    stages = {
        stage: record.model_copy(update={"parts": {name: part for name, part in record.parts.items() if inside(name)}})
        for stage, record in manifest.stages.items()
    }
    return manifest.model_copy(update={"stages": stages})


def _sizes(part: PartRecord, size: int) -> tuple[int, ...]:
    """The sizes that the file may have; a file about to be replaced may have any."""
    return (size,) if part.next_sha256 else (part.size_bytes,)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
