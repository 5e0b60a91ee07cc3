"""From a model's name to files on disk: embedded, folder, GGUF, Meta's layout, or hub. No weights are read here.

Resolving is fast and needs no torch, so that a wrong name, a damaged file or a changed checkpoint is known before
anything is loaded. The fingerprint is a hash of configuration, tokenizer and weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cotlens.errors import InputError, ModelFormatError, ModelNotFoundError, near_match
from cotlens.model.embedded import EMBEDDED, converted_folder, embedded_folder, packaged_file
from cotlens.model.facts import (
    ModelFacts,
    check_facts,
    config_facts,
    gguf_facts,
    meta_facts,
    pickle_refusal,
    read_config,
)
from cotlens.model.gguf_header import GGUF_MAGIC, read_gguf_header
from cotlens.model.hub import hub_folder
from cotlens.model.meta_params import has_meta_layout, shard_files, tokenizer_file
from cotlens.types import NeuronId

__all__ = ["ModelSource", "resolve_model"]

#: What a prompt's tokens depend on.
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files lie. ``gguf_file`` is the file's name within ``folder`` for a GGUF checkpoint."""

    name: str
    folder: Path
    kind: Literal["safetensors", "gguf", "meta"] = "safetensors"
    gguf_file: str | None = None

    def facts(self) -> ModelFacts:
        """What the files say about the model without its weights.

        Raises:
            ModelFormatError: the file that should say it can't be read.
        """
        if self.gguf_file is not None:
            return gguf_facts(self.folder / self.gguf_file)
        return meta_facts(self.folder) if self.kind == "meta" else config_facts(read_config(self.folder))

    def weight_files(self) -> list[Path]:
        """The files that hold the weights."""
        if self.gguf_file is not None:
            return [self.folder / self.gguf_file]
        return shard_files(self.folder) if self.kind == "meta" else _safetensors(self.folder)

    def tokenizer_files(self) -> list[Path]:
        """The files that a prompt's tokens depend on; none for GGUF, which holds its tokenizer itself."""
        if self.kind == "meta":
            return [tokenizer_file(self.folder)]
        beside = [] if self.kind == "gguf" else [self.folder / name for name in _TOKENIZER_FILES]
        return [file for file in beside if file.is_file()]

    def has_chat_template(self) -> bool:
        """Whether the tokenizer knows how a conversation is written."""
        if self.gguf_file is not None:
            return "tokenizer.chat_template" in read_gguf_header(self.folder / self.gguf_file)
        if (self.folder / "chat_template.jinja").is_file():
            return True
        try:
            stated = json.loads((self.folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(stated, dict) and bool(stated.get("chat_template"))

    def fingerprint(self) -> dict[str, Any]:
        """Name, and sha256 of the configuration, the tokenizer's files, every weight file, and code beside them."""
        files = [*self.weight_files(), *self._settings(), *self.tokenizer_files()]
        hashes = {file.name: _sha256(file) for file in files}
        whole = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
        return {"name": self.name, "fingerprint": whole, "files": hashes}

    def width(self) -> int | None:
        """Neurons per layer, where the configuration states them."""
        return self.facts_if_readable().width

    def layers(self) -> int | None:
        """Number of layers, where the configuration states them."""
        return self.facts_if_readable().layers

    def check_neuron(self, neuron: NeuronId) -> None:
        """Raise an `InputError` if ``neuron`` is not in this model, as far as its configuration states its size."""
        layers, width = self.layers(), self.width()
        if layers is not None and neuron.layer >= layers:
            raise InputError(f"{neuron}: layer {neuron.layer} is out of range; {self.name} has 0 to {layers - 1}")
        if width is not None and neuron.neuron >= width:
            raise InputError(
                f"{neuron}: neuron {neuron.neuron} is out of range; {self.name} has 0 to {width - 1} in each layer"
            )

    def facts_if_readable(self) -> ModelFacts:
        """What the files say; nothing where they can't be read, since whoever loads the model says what is wrong."""
        try:
            return self.facts()
        except ModelFormatError:
            return ModelFacts()

    def _settings(self) -> list[Path]:
        if self.kind == "gguf":
            return []
        if self.kind == "meta":
            return [self.folder / "params.json"]
        code = sorted(self.folder.glob("*.py")) if self.facts_if_readable().own_code else []
        return [self.folder / "config.json", *code]


def resolve_model(name: str, revision: str | None = None, weights: bool = True) -> ModelSource:
    """Find the files of ``name``: the embedded model, a folder, a ``.gguf`` file, or a hub id.

    Without ``weights`` nothing large is fetched or converted; the source then serves for its facts alone.

    Raises:
        ModelNotFoundError: nothing of that name; the hub can't be reached, or asks for access.
        ModelFormatError: the files are damaged or of a kind that is not read.
    """
    if name in EMBEDDED:
        if weights or converted_folder(name).is_dir():
            return ModelSource(name, embedded_folder(name))
        packaged = packaged_file(name)
        return ModelSource(name, packaged.parent, "gguf", packaged.name)
    if not name.strip():
        raise ModelNotFoundError(f"the model's name is empty; known: {', '.join(EMBEDDED)}, a folder, or a hub id")
    path = Path(name).expanduser()
    if path.is_file():
        return _gguf_source(name, path)
    if path.is_dir():
        return _folder_source(name, path)  # a folder without weights is none that can be loaded
    if path.suffix == ".gguf" or path.is_absolute() or name.startswith(("./", "../", "~")):
        raise ModelNotFoundError(f"{name}: no such file or folder")
    if name.count("/") != 1:
        raise ModelNotFoundError(
            f"{name!r} is no model: not embedded{near_match(name, EMBEDDED)}, no folder, no .gguf file, and a hub id "
            "has the form owner/name"
        )
    return _folder_source(name, hub_folder(name, revision, weights), weights)


def _gguf_source(name: str, path: Path) -> ModelSource:
    with path.open("rb") as file:
        magic = file.read(len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise ModelFormatError(f"{name}: not a GGUF file (it begins with {magic!r})")
    source = ModelSource(name, path.parent, "gguf", path.name)
    check_facts(name, source.facts_if_readable())
    return source


def _folder_source(name: str, folder: Path, weights: bool = True) -> ModelSource:
    if (folder / "config.json").is_file() and (_safetensors(folder) or not weights):
        source = ModelSource(name, folder)
        check_facts(name, source.facts())
        return source
    if has_meta_layout(folder) or (not weights and (folder / "params.json").is_file()):
        source = ModelSource(name, folder, "meta")
        if weights:
            source.weight_files()
        source.tokenizer_files()
        return source
    if (folder / "config.json").is_file():
        raise pickle_refusal(name)
    if gguf := sorted(folder.glob("*.gguf")):
        raise ModelFormatError(f"{name}: a folder with GGUF files; name the file itself, such as {gguf[0]}")
    raise ModelFormatError(
        f"{name}: neither config.json (Hugging Face) nor params.json with consolidated.*.pth (Meta) in this folder"
    )


def _safetensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
