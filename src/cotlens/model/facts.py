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
    "why_refused",
]

#: What architectures call the same thing in ``config.json``.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_D_MODEL = ("hidden_size", "n_embd", "d_model")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_SWITCH = ("is_moe", "enable_moe_block")
#: Settings that only models with a recurrent state have, and architectures that have one without such a setting.
_STATE = ("state_size", "ssm_state_size", "mamba_d_state", "lru_width", "linear_conv_kernel_dim")
_RECURRENT = frozenset({"rwkv", "xlstm"})
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
    experts: int | None = None
    """Feed-forward blocks in a layer of which each token takes a few; None where there is one."""
    recurrent: bool = False
    """Whether some layers keep a state instead of attending."""
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
        experts=_experts(text),
        recurrent=_is_recurrent(text),
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
        encoder_decoder=kind == "t5",
        experts=_several(_number(header, f"{kind}.expert_count")),
        recurrent=f"{kind}.ssm.state_size" in header or kind.startswith("rwkv"),
        model_type=kind,
    )


def check_facts(name: str, facts: ModelFacts) -> None:
    """Raise a `ModelFormatError` for a model that has no use here, before its weights are fetched or loaded."""
    if reason := why_refused(facts):
        raise ModelFormatError(f"{name}: {reason}")


def why_refused(facts: ModelFacts) -> str | None:
    """What keeps a model from being looked at, and what to take instead; None where nothing does."""
    kind = facts.architecture or facts.model_type
    if facts.encoder_decoder:
        return f"an encoder-decoder model ({kind}); give a decoder-only language model"
    if facts.experts is not None:
        return (
            f"a mixture of {facts.experts} experts ({kind}), which is not supported yet; give a dense model of the "
            "same family"
        )
    if facts.recurrent:
        return f"a model with a recurrent state ({kind}); give one whose layers all attend"
    return None


def pickle_refusal(name: str) -> ModelFormatError:
    """Why a checkpoint without safetensors is not read."""
    return ModelFormatError(
        f"{name}: no .safetensors file; pickle checkpoints (.bin, .pt) are not read, since loading one can run code. "
        "Take a revision with safetensors, or convert it where you trust it"
    )


def _experts(config: Mapping[str, Any]) -> int | None:
    """How many experts a layer has; one is no mixture, and some families state a number and a switch that is off."""
    if any(config.get(switch) is False for switch in _EXPERTS_SWITCH):
        return None
    block = config.get("ffn_config")  # DBRX
    return _several(_number({**config, **block} if isinstance(block, dict) else config, *_EXPERTS))


def _is_recurrent(config: Mapping[str, Any]) -> bool:
    stated = any(config.get(name) is not None for name in _STATE)
    return stated or config.get("model_type") in _RECURRENT or "linear_attention" in (config.get("layer_types") or ())


def _several(count: int | None) -> int | None:
    return count if count is not None and count > 1 else None


def _number(settings: Mapping[str, Any], *names: str) -> int | None:
    found = [settings.get(name) for name in names]
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)
