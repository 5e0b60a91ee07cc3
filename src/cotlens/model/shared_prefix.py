"""Many texts with a common beginning: the beginning is computed once, held once, and attended to by all.

A few-shot prompt is some 900 tokens, of which a question is 60. `compute_prefix` runs the model over the common
part once; `SuffixBatch` then runs any number of rows that go on from it, left-padded to one length. Attention over
the prefix and attention over a row's own tokens are computed apart and share one softmax, so that the prefix's keys
and values are never copied per row (the idea of Hydragen, Juravsky et al., 2024).

Positions are explicit and padding is masked by construction, so a row's result does not depend on its neighbours.
The attention function is registered with transformers' attention interface and used only within `SuffixBatch`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AttentionInterface, Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from cotlens.model.language_model import LanguageModel

__all__ = ["Prefix", "SuffixBatch", "common_prefix_length", "compute_prefix"]

_ATTENTION = "cotlens_shared_prefix"


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of the common beginning, one tensor per layer, one row."""

    length: int
    keys: tuple[Float[Tensor, "1 H P d"], ...]
    values: tuple[Float[Tensor, "1 H P d"], ...]


@dataclass(frozen=True, slots=True)
class _Visible:
    """What the attention function needs to know of the current forward pass."""

    prefix: Prefix
    positions: Int[Tensor, "B C"]  # of every column so far, in its own text
    real: Bool[Tensor, "B C"]  # False for padding


_visible: ContextVar[_Visible] = ContextVar("cotlens_visible")


def common_prefix_length(texts: Sequence[Sequence[int]]) -> int:
    """Length of the longest common beginning that leaves every text at least one token of its own."""
    if not texts:
        return 0
    shortest = min(len(text) for text in texts)
    first = texts[0]
    length = 0
    while length < shortest - 1 and all(text[length] == first[length] for text in texts):
        length += 1
    return length


@torch.inference_mode()
def compute_prefix(lm: LanguageModel, ids: Sequence[int]) -> Prefix:
    """Run the plain forward over ``ids`` once and keep its keys and values."""
    if not ids:
        return Prefix(0, (), ())
    cache = DynamicCache()
    lm.model.base_model(torch.tensor([list(ids)], device=lm.device), past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    return Prefix(len(ids), tuple(layer.keys for layer in layers), tuple(layer.values for layer in layers))


class _RoomyLayer(DynamicLayer):
    """A cache layer with room for the tokens to come: a step writes in place instead of copying all before it."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        before, new = self.get_seq_length(), key_states.shape[2]
        if self._buffers is None or before + new > self._buffers[0].shape[2]:
            keys, values = super().update(key_states, value_states)
            shape = (*keys.shape[:2], keys.shape[2] + self._room, keys.shape[3])
            self._buffers = (keys.new_empty(shape), values.new_empty(shape))
            for buffer, held in zip(self._buffers, (keys, values), strict=True):
                buffer[:, :, : held.shape[2]] = held
        else:
            for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
                buffer[:, :, before : before + new] = states
        self.keys, self.values = (buffer[:, :, : before + new] for buffer in self._buffers)
        return self.keys, self.values

    def keep_rows(self, rows: Tensor) -> None:
        assert self._buffers is not None
        length = self.get_seq_length()
        self._buffers = (self._buffers[0][rows], self._buffers[1][rows])
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


class SuffixBatch:
    """Rows of token ids that continue a `Prefix`, with the cache of what they have read so far.

    ``room`` is the number of tokens that will be appended to each row.
    """

    def __init__(self, lm: LanguageModel, prefix: Prefix, suffixes: Sequence[Sequence[int]], room: int = 0) -> None:
        width = max(len(suffix) for suffix in suffixes)
        padded = torch.zeros(len(suffixes), width, dtype=torch.long)
        self.real = torch.zeros(len(suffixes), width, dtype=torch.bool)
        for row, suffix in enumerate(suffixes):
            padded[row, width - len(suffix) :] = torch.tensor(suffix)
            self.real[row, width - len(suffix) :] = True
        self.real = self.real.to(lm.device)
        # A padding column takes the position of the first real token; it is never looked at.
        self.positions = prefix.length + (self.real.cumsum(dim=1) - 1).clamp(min=0)
        self._lm = lm
        self._prefix = prefix
        self._first_ids: Tensor | None = padded.to(lm.device)
        self._layers = [_RoomyLayer(room) for _ in lm.ffn]
        self._cache = Cache(layers=list(self._layers))

    def read_suffixes(self) -> Float[Tensor, "B V"]:
        """Run all suffixes; logits that follow the last token of each row."""
        return self._last_logits(self._hidden(self._take_first_ids(), self.positions))

    def encode_suffixes(self) -> None:
        """Run all suffixes for the sake of hooks on the way; no logits are computed."""
        self._hidden(self._take_first_ids(), self.positions)

    def read_token(self, ids: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Append one token to every row; logits that follow it."""
        last = self.positions[:, -1:] + 1
        self.positions = torch.cat([self.positions, last], dim=1)
        self.real = torch.cat([self.real, torch.ones_like(self.real[:, :1])], dim=1)
        return self._last_logits(self._hidden(ids[:, None], last))

    def keep_rows(self, rows: Int[Tensor, " R"]) -> None:
        """Drop all rows but these."""
        self.positions, self.real = self.positions[rows], self.real[rows]
        for layer in self._layers:
            layer.keep_rows(rows)

    def _take_first_ids(self) -> Tensor:
        assert self._first_ids is not None, "the suffixes were read before"
        ids, self._first_ids = self._first_ids, None
        return ids

    def _hidden(self, ids: Tensor, positions: Tensor) -> Float[Tensor, "B S D"]:
        token = _visible.set(_Visible(self._prefix, self.positions, self.real))
        try:
            with torch.inference_mode(), _shared_prefix_attention(self._lm.model):
                output = self._lm.model.base_model(
                    ids, position_ids=positions, past_key_values=self._cache, use_cache=True
                )
        finally:
            _visible.reset(token)
        hidden: Tensor = output.last_hidden_state
        return hidden

    @torch.inference_mode()
    def _last_logits(self, hidden: Float[Tensor, "B S D"]) -> Float[Tensor, "B V"]:
        logits: Tensor = self._lm.model.get_output_embeddings()(hidden[:, -1])
        # The final soft cap of Gemma is monotone: the greedy choice does not depend on it.
        return logits


@contextlib.contextmanager
def _shared_prefix_attention(model: PreTrainedModel) -> Iterator[None]:
    AttentionInterface.register(_ATTENTION, _attention)
    configs: dict[int, Any] = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = _ATTENTION
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def _attention(
    module: torch.nn.Module,
    query: Float[Tensor, "B Hq S d"],
    key: Float[Tensor, "B H C d"],
    value: Float[Tensor, "B H C d"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "B S Hq d"], None]:
    """Attention of ``S`` new tokens over the prefix and over all ``C`` columns of their own row."""
    visible = _visible.get()
    B, Hq, S, d = query.shape
    H, C = key.shape[1], key.shape[2]
    scale = scaling if scaling is not None else d**-0.5
    grouped = (query * scale).view(B, H, Hq // H, S, d)  # query heads that share a key head

    columns = torch.arange(C, device=query.device)
    new = columns[C - S :]  # the columns of the new tokens
    q_position = visible.positions[:, C - S :]
    # Padding may see itself, so that no row of the softmax is empty; nobody sees padding.
    allowed = (visible.real[:, None, :] & (columns <= new[:, None])) | (columns == new[:, None])  # [B, S, C]
    if sliding_window is not None:
        allowed &= q_position[:, :, None] - visible.positions[:, None, :] < sliding_window

    own_scores = _cap(grouped.flatten(2, 3) @ key.transpose(2, 3), softcap).view(B, H, -1, S, C).float()
    own_scores.masked_fill_(~allowed[:, None, None], float("-inf"))
    if visible.prefix.length == 0:
        out = own_scores.softmax(dim=-1).to(value.dtype).flatten(2, 3) @ value
        return _to_rows(out, Hq, S), None

    layer: int = module.layer_idx  # type: ignore[assignment]
    prefix_key, prefix_value = visible.prefix.keys[layer][0], visible.prefix.values[layer][0]  # [H, P, d]
    folded = grouped.transpose(0, 1).reshape(H, -1, d)  # rows of all texts in one matrix product
    prefix_scores = _cap(folded @ prefix_key.transpose(1, 2), softcap).float()  # [H, B*G*S, P]
    if sliding_window is not None:
        distance = q_position[:, :, None] - torch.arange(visible.prefix.length, device=query.device)
        too_far = (distance >= sliding_window)[None, :, None]  # [1, B, 1, S, P]
        prefix_scores.view(H, B, -1, S, visible.prefix.length).masked_fill_(too_far, float("-inf"))

    # One softmax over both parts, in place: these are the largest tensors of the pass.
    own_scores = own_scores.flatten(2, 3)  # [B, H, G*S, C]
    prefix_best = prefix_scores.amax(dim=-1, keepdim=True).view(H, B, -1, 1).transpose(0, 1)
    best = torch.maximum(own_scores.amax(dim=-1, keepdim=True), prefix_best)  # [B, H, G*S, 1]
    own_weights = own_scores.sub_(best).exp_()
    prefix_weights = prefix_scores.sub_(best.transpose(0, 1).reshape(H, -1, 1)).exp_()
    prefix_total = prefix_weights.sum(dim=-1, keepdim=True).view(H, B, -1, 1).transpose(0, 1)
    total = own_weights.sum(dim=-1, keepdim=True) + prefix_total
    own = own_weights.to(value.dtype) @ value
    shared = (prefix_weights.to(value.dtype) @ prefix_value).view(H, B, -1, d).transpose(0, 1)
    return _to_rows((own + shared) / total.to(value.dtype), Hq, S), None


def _cap(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def _to_rows(out: Float[Tensor, "B H GS d"], Hq: int, S: int) -> Float[Tensor, "B S Hq d"]:
    return out.reshape(out.shape[0], Hq, S, out.shape[-1]).transpose(1, 2).contiguous()
