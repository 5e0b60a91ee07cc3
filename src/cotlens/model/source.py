"""From a model's name to files on disk: embedded, folder, GGUF, or hub. No weights are read here.

Resolving is fast and needs no torch, so that a wrong name, a damaged file or a changed checkpoint is known before
anything is loaded. The fingerprint is a hash of configuration, tokenizer and weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotlens.errors import ModelFormatError, ModelNotFoundError, near_match
from cotlens.model.embedded import EMBEDDED, embedded_folder

__all__ = ["ModelSource", "resolve_model"]

_WEIGHT_PATTERNS = ("*.safetensors", "*.gguf")
#: What a prompt's tokens depend on.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "chat_template.jinja")
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files lie. ``gguf_file`` is the file's name within ``folder`` for a GGUF checkpoint."""

    name: str
    folder: Path
    gguf_file: str | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Name, and sha256 of the configuration, the tokenizer's files and every weight file."""
        if self.gguf_file is not None:
            files = [self.folder / self.gguf_file]
        else:
            others = [self.folder / name for name in ("config.json", *_TOKENIZER_FILES)]
            files = [*_weight_files(self.folder), *(file for file in others if file.is_file())]
        hashes = {file.name: _sha256(file) for file in files}
        whole = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
        return {"name": self.name, "fingerprint": whole, "files": hashes}

    def width(self) -> int | None:
        """Neurons per layer, where the configuration states them."""
        return self._stated("intermediate_size", "n_inner")

    def layers(self) -> int | None:
        """Number of layers, where the configuration states them."""
        return self._stated("num_hidden_layers", "n_layer")

    def _stated(self, *names: str) -> int | None:
        if self.gguf_file is not None:
            return None
        try:
            config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # whoever loads the model says what is wrong with it
        found = [config.get(name) for name in names] if isinstance(config, dict) else []
        return next((value for value in found if isinstance(value, int)), None)


def resolve_model(name: str, revision: str | None = None) -> ModelSource:
    """Find the files of ``name``: the embedded model, a folder, a ``.gguf`` file, or a hub id.

    Raises:
        ModelNotFoundError: nothing of that name; the hub can't be reached, or asks for access.
        ModelFormatError: the files are damaged or of a kind that is not read.
    """
    if name in EMBEDDED:
        return ModelSource(name, embedded_folder(name))
    if not name.strip():
        raise ModelNotFoundError(f"the model's name is empty; known: {', '.join(EMBEDDED)}, a folder, or a hub id")
    path = Path(name).expanduser()
    if path.is_file():
        return _gguf_source(name, path)
    if path.is_dir():
        return _folder_source(name, path)
    if path.suffix == ".gguf" or path.is_absolute() or name.startswith(("./", "../", "~")):
        raise ModelNotFoundError(f"{name}: no such file or folder")
    if name.count("/") != 1:
        raise ModelNotFoundError(
            f"{name!r} is no model: not embedded{near_match(name, EMBEDDED)}, no folder, no .gguf file, and a hub id "
            "has the form owner/name"
        )
    return ModelSource(name, _hub_folder(name, revision))


def _gguf_source(name: str, path: Path) -> ModelSource:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelFormatError(f"{name}: not a GGUF file (it begins with {magic!r})")
    return ModelSource(name, path.parent, path.name)


def _folder_source(name: str, path: Path) -> ModelSource:
    if not (path / "config.json").is_file():
        raise ModelFormatError(f"{name}: no config.json in this folder, so it is no Hugging Face checkpoint")
    if not _weight_files(path):
        raise ModelFormatError(
            f"{name}: no .safetensors file in this folder; pickle checkpoints (.bin) are not read, since loading one "
            "can run code"
        )
    return ModelSource(name, path)


def _hub_folder(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_PATTERNS))
    except GatedRepoError:
        raise ModelNotFoundError(
            f"{name}: gated; ask for access on its page at huggingface.co, then `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ModelNotFoundError(f"{name}: no such model on the hub, or it is private") from None
    except LocalEntryNotFoundError:
        raise ModelNotFoundError(
            f"{name}: not in the local cache, and the hub can't be reached; download it where there is a network, or "
            "give a folder"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelNotFoundError(f"{name}: the hub answered: {str(error).splitlines()[0]}") from None


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for pattern in _WEIGHT_PATTERNS for file in folder.glob(pattern))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
