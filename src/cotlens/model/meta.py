"""A checkpoint in Meta's own layout, read into the Llama of `transformers`.

It is read anew each time, not converted into a copy on disk: the shards are mapped into memory and each matrix is
merged, reordered and cast on its own, so that reading costs the weights once, and half a terabyte of cache is nobody's
surprise.

Two things differ from the Hugging Face layout. A matrix is cut into slices, one per shard: along its rows or its
columns, which the shapes tell. And rotary embeddings turn neighbouring entries of a head, (0, 1), (2, 3), ..., where
`transformers` turns entries half a head apart: the rows of ``wq`` and ``wk`` are put in that order.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from cotlens.errors import ModelFormatError
from cotlens.model.meta_params import MetaParams, read_params, shard_files, tokenizer_file
from cotlens.model.meta_tokenizer import end_ids, read_meta_tokenizer
from cotlens.model.placement import Placement, check_plan

__all__ = ["read_meta", "read_meta_tokenizer_of"]

#: Kept by early checkpoints, and computed from the settings.
_DERIVED = "rope.freqs"
#: How PyTorch names what a pickle would have run.
_CODE = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True, slots=True)
class _Weight:
    """A matrix or gain: its name in Meta's files, in `transformers`, and its whole shape."""

    meta: str
    ours: str
    shape: tuple[int, ...]
    rotary_heads: int = 0
    """Number of heads whose rows are reordered; 0 for none."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """One file, and its tensors, which stay on disk until they are used."""

    file: Path
    tensors: Mapping[str, Tensor]


def read_meta(folder: Path, placement: Placement) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Model and tokenizer of ``folder``.

    Raises:
        ModelFormatError: a file that is missing, damaged, no plain weights, or that doesn't fit the others.
        MissingExtraError: the tokenizer needs ``sentencepiece``.
    """
    params = read_params(folder)
    tokenizer = read_meta_tokenizer_of(folder)
    shards = [_open(file) for file in shard_files(folder)]
    weights = _expected(folder, params, shards)
    by_name = {weight.meta: weight for weight in weights}
    vocabulary, width = by_name["tok_embeddings.weight"].shape[0], by_name["layers.0.feed_forward.w1.weight"].shape[0]
    if len(tokenizer) > vocabulary:
        raise ModelFormatError(
            f"{tokenizer_file(folder)}: has {len(tokenizer)} tokens, and {shards[0].file.name} weights for {vocabulary}"
        )
    config = _config(params, vocabulary, width, tokenizer, tied="output.weight" not in by_name)
    return _fill(config, weights, shards, placement, str(folder)), tokenizer


def read_meta_tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint in ``folder``."""
    params = read_params(folder)
    return read_meta_tokenizer(tokenizer_file(folder), params.vocab_size, newer=params.use_scaled_rope)


def _open(file: Path) -> _Shard:
    try:
        # Files from before PyTorch 1.6 can't be mapped.
        found: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # whatever PyTorch makes of bytes that are no checkpoint
        if (code := _CODE.search(str(error))) and isinstance(error, pickle.UnpicklingError):
            raise ModelFormatError(f"{file}: asks to run {code[1]}, as weights never do; nothing was run") from None
        raise ModelFormatError(f"{file}: damaged, or no file of weights; fetch it again") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelFormatError(f"{file}: expected tensors by name, got {type(found).__name__}")
    return _Shard(file, {name: tensor for name, tensor in found.items() if name != _DERIVED})


def _expected(folder: Path, params: MetaParams, shards: Sequence[_Shard]) -> list[_Weight]:
    """All weights of the model; the two sizes that ``params.json`` may leave open are read off the shards."""
    first = shards[0].tensors
    vocabulary = params.vocab_size if params.vocab_size > 0 else _joint_size(shards, "output.weight", 0)
    width = _joint_size(shards, "layers.0.feed_forward.w2.weight", 1)
    weights = _weights(params, vocabulary or _joint_size(shards, "tok_embeddings.weight", 0), width)
    if "output.weight" not in first:
        weights = [weight for weight in weights if weight.meta != "output.weight"]
    names = {weight.meta for weight in weights}
    for shard in shards:
        if missing := sorted(names - shard.tensors.keys()):
            raise ModelFormatError(f"{shard.file}: has no {missing[0]}, which {folder / 'params.json'} asks for")
        if unknown := sorted(shard.tensors.keys() - names):
            raise ModelFormatError(f"{shard.file}: {unknown[0]} is not known; a text model of Llama 1 to 3 has none")
    return weights


def _joint_size(shards: Sequence[_Shard], name: str, axis: int) -> int:
    """Size of a weight along the axis that it is cut along; 0 where it is missing."""
    parts = [shard.tensors[name] for shard in shards if name in shard.tensors]
    return sum(part.shape[axis] for part in parts if part.ndim > axis)


def _weights(params: MetaParams, vocabulary: int, width: int) -> list[_Weight]:
    dim, keys = params.dim, params.kv_heads * params.head_dim
    weights = [
        _Weight("tok_embeddings.weight", "model.embed_tokens.weight", (vocabulary, dim)),
        _Weight("norm.weight", "model.norm.weight", (dim,)),
        _Weight("output.weight", "lm_head.weight", (vocabulary, dim)),
    ]
    for layer in range(params.n_layers):
        meta, ours = f"layers.{layer}.", f"model.layers.{layer}."
        weights += [
            _Weight(f"{meta}attention.wq.weight", f"{ours}self_attn.q_proj.weight", (dim, dim), params.n_heads),
            _Weight(f"{meta}attention.wk.weight", f"{ours}self_attn.k_proj.weight", (keys, dim), params.kv_heads),
            _Weight(f"{meta}attention.wv.weight", f"{ours}self_attn.v_proj.weight", (keys, dim)),
            _Weight(f"{meta}attention.wo.weight", f"{ours}self_attn.o_proj.weight", (dim, dim)),
            _Weight(f"{meta}feed_forward.w1.weight", f"{ours}mlp.gate_proj.weight", (width, dim)),
            _Weight(f"{meta}feed_forward.w3.weight", f"{ours}mlp.up_proj.weight", (width, dim)),
            _Weight(f"{meta}feed_forward.w2.weight", f"{ours}mlp.down_proj.weight", (dim, width)),
            _Weight(f"{meta}attention_norm.weight", f"{ours}input_layernorm.weight", (dim,)),
            _Weight(f"{meta}ffn_norm.weight", f"{ours}post_attention_layernorm.weight", (dim,)),
        ]
    return weights


def _config(
    params: MetaParams, vocabulary: int, width: int, tokenizer: PreTrainedTokenizerBase, tied: bool
) -> LlamaConfig:
    rotary: dict[str, Any] = {"rope_type": "default", "rope_theta": params.rope_theta}
    if params.use_scaled_rope:
        rotary |= {"rope_type": "llama3", "factor": params.rope_factor}
        rotary |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=params.dim,
        intermediate_size=width,
        num_hidden_layers=params.n_layers,
        num_attention_heads=params.n_heads,
        num_key_value_heads=params.kv_heads,
        rms_norm_eps=params.norm_eps,
        rope_parameters=rotary,
        max_position_embeddings=params.context_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_ids(tokenizer),
        tie_word_embeddings=tied,
    )


def _fill(
    config: LlamaConfig, weights: Sequence[_Weight], shards: Sequence[_Shard], placement: Placement, name: str
) -> LlamaForCausalLM:
    """The model with its weights, each cast and put on its device as it is merged."""
    from accelerate import dispatch_model, init_empty_weights

    with init_empty_weights(include_buffers=False):
        model: Any = LlamaForCausalLM(config)
    plan = placement.plan(model)
    check_plan(name, plan)
    state = {weight.ours: _read(weight, shards, _place(weight.ours, plan), placement.dtype) for weight in weights}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    model.config.dtype = placement.dtype
    model.generation_config = GenerationConfig.from_model_config(config)
    spread: LlamaForCausalLM = dispatch_model(model, plan) if len(plan) > 1 else model.to(plan[""])
    return spread


def _place(name: str, plan: Mapping[str, Any]) -> Any:
    """The device of a weight: that of the longest name in ``plan`` that it lies within."""
    within = [part for part in plan if not part or name.startswith(f"{part}.") or name == part]
    return plan[max(within, key=len)]


def _read(weight: _Weight, shards: Sequence[_Shard], device: Any, dtype: torch.dtype) -> Tensor:
    """A weight in memory of its own: one that was still mapped would change with its file."""
    whole = _merge(weight, shards).to(device=device, dtype=dtype)
    mapped = shards[0].tensors[weight.meta]
    return whole.clone() if whole.data_ptr() == mapped.data_ptr() else whole


def _merge(weight: _Weight, shards: Sequence[_Shard]) -> Tensor:
    """The whole of a weight from its slices, its rows in the order of `transformers`."""
    parts = [shard.tensors[weight.meta] for shard in shards]
    for shard, part in zip(shards, parts, strict=True):
        if not part.is_floating_point():
            raise ModelFormatError(f"{shard.file}: {weight.meta} holds {part.dtype}; quantised weights are not read")
        if not torch.isfinite(part).all():
            raise ModelFormatError(f"{shard.file}: {weight.meta} holds NaN or infinity; fetch the file again")
    whole = _join(weight, parts, shards)
    return _reorder(whole, weight.rotary_heads) if weight.rotary_heads else whole


def _join(weight: _Weight, parts: Sequence[Tensor], shards: Sequence[_Shard]) -> Tensor:
    if all(part.shape == weight.shape for part in parts):
        if not all(part.equal(parts[0]) for part in parts[1:]):
            raise ModelFormatError(f"{shards[0].file.parent}: {weight.meta} differs between shards of one model")
        return parts[0]
    for axis in range(len(weight.shape)):
        if _shape_joined(parts, axis) == weight.shape:
            return torch.cat(list(parts), dim=axis)
    raise ModelFormatError(
        f"{shards[0].file}: {weight.meta} has shape {list(parts[0].shape)} in each of {len(parts)} shards, and "
        f"{list(weight.shape)} is expected in all; is a consolidated.*.pth missing?"
    )


def _shape_joined(parts: Sequence[Tensor], axis: int) -> tuple[int, ...] | None:
    """Shape of the parts put together along ``axis``; None where their other axis differs."""
    rest = {tuple(part.shape[:axis]) + tuple(part.shape[axis + 1 :]) for part in parts}
    if len(rest) != 1 or parts[0].ndim <= axis:
        return None
    [others] = rest
    return (*others[:axis], sum(part.shape[axis] for part in parts), *others[axis:])


def _reorder(weight: Tensor, heads: int) -> Tensor:
    """Rows of each head from (a0, b0, a1, b1, ...) to (a0, a1, ..., b0, b1, ...)."""
    pairs = weight.reshape(heads, -1, 2, weight.shape[1])  # [H, head_dim / 2, 2, D]
    return pairs.transpose(1, 2).reshape(weight.shape)
