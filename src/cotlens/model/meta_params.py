"""The files of a checkpoint in Meta's own layout, and what its ``params.json`` says. No torch here.

::

    params.json                 dim, n_layers, n_heads, ...
    consolidated.00.pth ...     one file per model-parallel rank, each with a slice of every matrix
    tokenizer.model             here or one folder up: sentencepiece (Llama 1, 2), or tiktoken ranks (Llama 3)
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cotlens.errors import ModelFormatError

__all__ = ["MetaParams", "has_meta_layout", "read_params", "shard_files", "tokenizer_file"]

_SHARD = re.compile(r"consolidated\.(\d\d)\.pth")
#: Settings of Meta's code that say how it runs a model, not what the model is.
_RUNTIME = frozenset({"max_batch_size", "model_parallel_size"})
_REAL = frozenset({"ffn_dim_multiplier", "norm_eps", "rope_theta", "rope_scaling_factor"})
_WHOLE = frozenset({"dim", "n_layers", "n_heads", "n_kv_heads", "multiple_of", "max_seq_len"})


@dataclass(frozen=True, slots=True)
class MetaParams:
    """Contents of ``params.json``, with the defaults of Meta's own code."""

    dim: int
    """Width of the residual stream."""
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None
    """Heads of keys and values; as many as `n_heads` when absent."""
    vocab_size: int = -1
    """Tokens; -1 where the tokenizer knows."""
    multiple_of: int = 256
    """The feed-forward width is rounded up to a multiple of this."""
    ffn_dim_multiplier: float | None = None
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    use_scaled_rope: bool = False
    """Whether positions are scaled as in Llama 3.1 and later."""
    rope_scaling_factor: float | None = None
    max_seq_len: int | None = None
    """Longest sequence; Meta's files don't state it, but it can be added."""

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def width(self) -> int:
        """Neurons per layer: two thirds of four times ``dim``, times a factor, rounded up."""
        width = int(2 * 4 * self.dim / 3)
        if self.ffn_dim_multiplier is not None:
            width = int(self.ffn_dim_multiplier * width)
        return self.multiple_of * -(-width // self.multiple_of)

    @property
    def context_length(self) -> int:
        """Longest sequence that the model was trained for, told by what sets the generations apart."""
        if self.max_seq_len:
            return self.max_seq_len
        if self.use_scaled_rope:
            return 131072  # Llama 3.1, 3.2, 3.3
        if self.rope_theta > 10000:
            return 8192 if self.rope_theta < 1e6 else 16384  # Llama 3; Code Llama
        return 2048 if self.norm_eps < 1e-5 else 4096  # Llama 1; Llama 2

    @property
    def rope_factor(self) -> float:
        """How far positions are scaled: 8, and 32 in the two small models of Llama 3.2."""
        return self.rope_scaling_factor or (32.0 if self.dim <= 3072 else 8.0)


def has_meta_layout(folder: Path) -> bool:
    return (folder / "params.json").is_file() and any(_SHARD.fullmatch(file.name) for file in folder.iterdir())


def read_params(folder: Path) -> MetaParams:
    """What ``params.json`` in ``folder`` says.

    Raises:
        ModelFormatError: not to be read, or of a model that is none of Llama 1 to 3.
    """
    path = folder / "params.json"
    try:
        stated: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{path}: can't be read: {error}") from None
    if not isinstance(stated, dict):
        raise ModelFormatError(f"{path}: expected an object, got {type(stated).__name__}")
    stated = {key: value for key, value in stated.get("model", stated).items() if value is not None}
    known = {field.name for field in fields(MetaParams)}
    if unknown := sorted(stated.keys() - known - _RUNTIME):
        raise ModelFormatError(
            f"{path}: {', '.join(unknown)}: not known; the text models of Llama 1 to 3 are read, unquantised"
        )
    if missing := sorted({"dim", "n_layers", "n_heads"} - stated.keys()):
        raise ModelFormatError(f"{path}: {', '.join(missing)}: missing")
    for name, value in stated.items():
        if not isinstance(value, int | float) or (name in _WHOLE and (not isinstance(value, int) or value < 1)):
            wanted = "a whole number above 0" if name in _WHOLE else "a number"
            raise ModelFormatError(f"{path}: {name} is {value!r}, expected {wanted}")
    settings: dict[str, Any] = {
        key: float(value) if key in _REAL else value for key, value in stated.items() if key in known
    }
    params = MetaParams(**settings)
    if params.dim % (2 * params.n_heads) or params.n_heads % params.kv_heads:
        raise ModelFormatError(
            f"{path}: dim {params.dim}, n_heads {params.n_heads} and n_kv_heads {params.kv_heads} don't fit together"
        )
    return params


def shard_files(folder: Path) -> list[Path]:
    """The shards in the order of their ranks.

    Raises:
        ModelFormatError: one is missing between others.
    """
    files = {int(match[1]): file for file in folder.iterdir() if (match := _SHARD.fullmatch(file.name))}
    for rank in range(max(files, default=0) + 1):
        if rank not in files:
            raise ModelFormatError(f"{folder / f'consolidated.{rank:02d}.pth'}: missing")
    return [files[rank] for rank in sorted(files)]


def tokenizer_file(folder: Path) -> Path:
    """``tokenizer.model`` of a checkpoint.

    Raises:
        ModelFormatError: there is none.
    """
    for place in (folder, folder.absolute().parent):
        if (place / "tokenizer.model").is_file():
            return place / "tokenizer.model"
    raise ModelFormatError(f"{folder / 'tokenizer.model'}: missing, and not one folder up either; copy it there")
