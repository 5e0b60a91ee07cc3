"""What the files of a model say about it without its weights: its kind, its size, and whether it can be read at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotlens.errors import ModelFormatError
from cotlens.model.gguf_header import read_gguf_header
from cotlens.model.meta_params import read_params

__all__ = [
    "ModelFacts",
    "check_facts",
    "config_facts",
    "gguf_facts",
    "meta_facts",
    "pickle_refusal",
    "read_config",
]

#: What architectures call the same thing in ``config.json``.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_D_MODEL = ("hidden_size", "n_embd", "d_model")
#: Architectures whose feed-forward blocks are four times as wide as the residual stream unless they say otherwise.
_FOUR_TIMES = frozenset({"bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gptj"})
#: Names of GGUF's common storage types, by the number that a file states.
_GGUF_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 12: "Q3_K_M"}
_GGUF_TYPES |= {14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before its weights are loaded; None where its files don't say."""

    architecture: str | None = None
    layers: int | None = None
    width: int | None = None
    """Neurons per layer."""
    d_model: int | None = None
    vocabulary: int | None = None
    dtype: str | None = None
    """How the weights are stored."""
    quantisation: str | None = None
    encoder_decoder: bool = False
    own_code: tuple[str, ...] = ()
    """Classes that the checkpoint brings along as Python code (``auto_map``)."""
    model_type: str | None = None


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a Hugging Face checkpoint.

    Raises:
        ModelFormatError: not to be read.
    """
    path = folder / "config.json"
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{path}: can't be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelFormatError(f"{path}: expected an object, got {type(config).__name__}")
    return config


def config_facts(config: Mapping[str, Any]) -> ModelFacts:
    """From ``config.json``; of a model that also sees images, the part that reads text."""
    nested = config.get("text_config")
    text = {**config, **nested} if isinstance(nested, dict) else config
    d_model = _number(text, *_D_MODEL)
    width = _number(text, *_WIDTH)
    if width is None and d_model is not None and config.get("model_type") in _FOUR_TIMES:
        width = 4 * d_model
    architectures = config.get("architectures")
    quantisation = config.get("quantization_config")
    own_code = config.get("auto_map")
    return ModelFacts(
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        layers=_number(text, *_LAYERS),
        width=width,
        d_model=d_model,
        vocabulary=_number(text, "vocab_size"),
        dtype=next((str(text[name]) for name in ("dtype", "torch_dtype") if text.get(name)), None),
        quantisation=str(quantisation.get("quant_method", "yes")) if isinstance(quantisation, dict) else None,
        encoder_decoder=config.get("is_encoder_decoder") is True,
        own_code=tuple(sorted(map(str, own_code))) if isinstance(own_code, dict) else (),
        model_type=str(config["model_type"]) if "model_type" in config else None,
    )


def meta_facts(folder: Path) -> ModelFacts:
    """From ``params.json``."""
    params = read_params(folder)
    return ModelFacts(
        architecture="LlamaForCausalLM",
        layers=params.n_layers,
        width=params.width,
        d_model=params.dim,
        vocabulary=params.vocab_size if params.vocab_size > 0 else None,
        model_type="llama",
    )


def gguf_facts(path: Path) -> ModelFacts:
    """From the head of a GGUF file."""
    header = read_gguf_header(path)
    kind = str(header.get("general.architecture"))
    stored = header.get("general.file_type")
    return ModelFacts(
        architecture=kind,
        layers=_number(header, f"{kind}.block_count"),
        width=_number(header, f"{kind}.feed_forward_length"),
        d_model=_number(header, f"{kind}.embedding_length"),
        vocabulary=_number(header, f"{kind}.vocab_size", "tokenizer.ggml.tokens"),
        dtype=None if stored is None else _GGUF_TYPES.get(stored, f"type {stored}"),
        model_type=kind,
    )


def check_facts(name: str, facts: ModelFacts) -> None:
    """Raise a `ModelFormatError` for a model that has no use here, before its weights are fetched or loaded."""
    if facts.encoder_decoder:
        kind = facts.architecture or facts.model_type
        raise ModelFormatError(f"{name}: an encoder-decoder model ({kind}); give a decoder-only language model")


def pickle_refusal(name: str) -> ModelFormatError:
    """Why a checkpoint without safetensors is not read."""
    return ModelFormatError(
        f"{name}: no .safetensors file; pickle checkpoints (.bin, .pt) are not read, since loading one can run code. "
        "Take a revision with safetensors, or convert it where you trust it"
    )


def _number(settings: Mapping[str, Any], *names: str) -> int | None:
    found = [settings.get(name) for name in names]
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)
