"""`load_model`: from a name to a `LanguageModel` in memory."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from cotlens.errors import CotlensError, EnvironmentFault, ModelFormatError
from cotlens.model.language_model import LanguageModel
from cotlens.model.placement import Placement, check_plan
from cotlens.model.reading import PromptReader, declared_ends, end_ids, stated_context
from cotlens.model.source import ModelSource, resolve_model

__all__ = ["load_model", "load_reader", "load_source", "load_tokenizer", "read_checkpoint", "source_tokenizer"]

_CODE_REMEDY = "add --trust-remote-code (model.trust_remote_code) if you trust its author"


def load_model(
    name: str = "smollm2-135m",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model.

    Args:
        name: ``smollm2-135m`` (embedded), a hub id, a folder with safetensors or in Meta's layout, or a ``.gguf`` file.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``auto`` (the first accelerator, else the CPU), or ``sharded``
            over all accelerators, for a model that one can't hold.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        revision: branch, tag or commit of a hub model.
        trust_remote_code: run Python code that a checkpoint brings along.

    Raises:
        ModelNotFoundError: no such model.
        ModelFormatError: damaged files, or an architecture without a known feed-forward layout.
        InputError: an unknown dtype or device.
        EnvironmentFault: no such device, or not enough memory.
    """
    placement = Placement.parse(device, dtype)
    return _load(resolve_model(name, revision), placement, trust_remote_code)


def load_source(
    source: ModelSource, device: str = "auto", dtype: str = "float32", trust_remote_code: bool = False
) -> LanguageModel:
    """Load the files of ``source``; otherwise as `load_model`."""
    return _load(source, Placement.parse(device, dtype), trust_remote_code)


def load_tokenizer(name: str, revision: str | None = None, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, without its weights.

    Raises:
        ModelNotFoundError: no such model.
        ModelFormatError: damaged files.
    """
    return source_tokenizer(resolve_model(name, revision, weights=False), trust_remote_code)


def source_tokenizer(source: ModelSource, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer in the files of ``source``."""
    with _reading(_path(source.folder, source.gguf_file)):
        if source.kind == "meta":
            from cotlens.model.meta import read_meta_tokenizer_of

            return read_meta_tokenizer_of(source.folder)
        return _tokenizer(source.folder, source.gguf_file, trust_remote_code)


def load_reader(source: ModelSource, trust_remote_code: bool = False) -> PromptReader:
    """What prompts of the model in ``source`` are read with, without its weights."""
    tokenizer = source_tokenizer(source, trust_remote_code)
    return PromptReader(tokenizer, end_ids(tokenizer, declared_ends(source)), stated_context(source))


def read_checkpoint(
    folder: Path,
    gguf_file: str | None,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
    device_map: Any = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder, read with the Hugging Face loaders, safetensors or GGUF only."""
    extra: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {"use_safetensors": True}
    with _reading(_path(folder, gguf_file)):
        tokenizer = _tokenizer(folder, gguf_file, trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=trust_remote_code, device_map=device_map, **extra
        )
    return model, tokenizer


def _load(source: ModelSource, placement: Placement, trust_remote_code: bool) -> LanguageModel:
    model: Any
    if source.kind == "meta":
        from cotlens.model.meta import read_meta

        with _reading(source.folder):
            model, tokenizer = read_meta(source.folder, placement)
    else:
        if source.kind == "safetensors":
            _check_code(source, trust_remote_code)
        # The GGUF reader makes weights dense in the machine's own memory.
        moved = source.kind == "gguf" and placement.device is not None
        spread = None if moved else placement.device_map()
        model, tokenizer = read_checkpoint(source.folder, source.gguf_file, placement.dtype, trust_remote_code, spread)
        check_plan(source.name, getattr(model, "hf_device_map", None) or {})
        if moved:
            with _reading(_path(source.folder, source.gguf_file)):
                model.to(placement.device)
    return LanguageModel(model, tokenizer, name=source.name)


def _check_code(source: ModelSource, trusted: bool) -> None:
    """Refuse a model that only its own code can read, unless that may run."""
    facts = source.facts()
    if facts.own_code and not trusted and facts.model_type not in CONFIG_MAPPING:
        raise ModelFormatError(
            f"{source.name}: needs Python code that it brings along ({', '.join(facts.own_code)}), and nothing of it "
            f"was run; {_CODE_REMEDY}"
        )


def _tokenizer(folder: Path, gguf_file: str | None, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    extra = {"gguf_file": gguf_file} if gguf_file else {}
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=trust_remote_code, **extra
    )
    return tokenizer


def _path(folder: Path, gguf_file: str | None) -> Path:
    return folder / gguf_file if gguf_file else folder


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Quiet loaders, and one error for the dozen kinds that they raise for files they can't read."""
    with quiet_transformers():
        try:
            yield
        except CotlensError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in reason:
                raise EnvironmentFault(
                    f"{path}: does not fit in memory; try --dtype bfloat16, or --device sharded for several devices"
                ) from None
            if "trust_remote_code" in str(error):
                reason = f"it needs Python code that it brings along, and nothing of it was run; {_CODE_REMEDY}"
            raise ModelFormatError(f"{path}: can't be read: {reason}") from error


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
