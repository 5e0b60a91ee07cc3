"""`load_model`: from a name to a `LanguageModel` in memory."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from cotlens.errors import EnvironmentFault, InputError, ModelFormatError, near_match
from cotlens.model.language_model import LanguageModel
from cotlens.model.source import ModelSource, resolve_model

__all__ = ["load_model", "load_tokenizer", "read_checkpoint"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str = "smollm2-135m",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model.

    Args:
        name: ``smollm2-135m`` (embedded), a hub id, a folder with safetensors, or a ``.gguf`` file.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        revision: branch, tag or commit of a hub model.
        trust_remote_code: run code that a hub repository brings along.

    Raises:
        ModelNotFoundError: no such model.
        ModelFormatError: damaged files, or an architecture without a known feed-forward layout.
        InputError: an unknown dtype or device.
    """
    if dtype not in _DTYPES:
        raise InputError(f"dtype {dtype!r} is not known{near_match(dtype, _DTYPES)}")
    place = _pick_device(device)
    source = resolve_model(name, revision)
    return load_source(source, place, _DTYPES[dtype], trust_remote_code)


def load_source(
    source: ModelSource, device: torch.device, dtype: torch.dtype, trust_remote_code: bool = False
) -> LanguageModel:
    """Read the files of ``source``."""
    model, tokenizer = read_checkpoint(source.folder, source.gguf_file, dtype, trust_remote_code)
    try:
        model.to(device)  # type: ignore[arg-type]
    except torch.OutOfMemoryError:
        raise EnvironmentFault(f"{source.name}: does not fit in the memory of {device}; try --dtype bfloat16") from None
    return LanguageModel(model, tokenizer, name=source.name)


def load_tokenizer(name: str, revision: str | None = None, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, without its weights.

    Raises:
        ModelNotFoundError: no such model.
        ModelFormatError: damaged files.
    """
    source = resolve_model(name, revision)
    with _reading(source.folder, source.gguf_file):
        return _tokenizer(source.folder, source.gguf_file, trust_remote_code)


def read_checkpoint(
    folder: Path, gguf_file: str | None, dtype: torch.dtype, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder, read with the Hugging Face loaders, safetensors or GGUF only."""
    extra = {"gguf_file": gguf_file} if gguf_file else {"use_safetensors": True}
    with _reading(folder, gguf_file):
        tokenizer = _tokenizer(folder, gguf_file, trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust_remote_code, **extra)
    return model, tokenizer


def _tokenizer(folder: Path, gguf_file: str | None, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    extra = {"gguf_file": gguf_file} if gguf_file else {}
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=trust_remote_code, **extra
    )
    return tokenizer


@contextlib.contextmanager
def _reading(folder: Path, gguf_file: str | None) -> Iterator[None]:
    """Quiet loaders, and one error for the dozen kinds that they raise for files they can't read."""
    with quiet_transformers():
        try:
            yield
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelFormatError(f"{folder / gguf_file if gguf_file else folder}: can't be read: {reason}") from error


def _pick_device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is not known; use cpu, cuda, cuda:1, mps or auto") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(f"device {name!r}: no CUDA device is available; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentFault(f"device {name!r}: not available here; use --device cpu")
    return device


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loaders' progress bars and advice off the terminal; what matters is raised."""
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.captureWarnings(True)
    try:
        # The GGUF reader draws its own bar, which no setting turns off.
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.captureWarnings(False)
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
