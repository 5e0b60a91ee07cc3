"""Rows that attend to one prefix without a copy of it.

Attention over the prefix and attention over a row's own tokens are computed apart and share one softmax, so that the
prefix's keys and values are never copied per row (the idea of Hydragen, Juravsky et al., 2024). Positions are explicit
and padding is masked by construction, so a row's result does not depend on its neighbours. The attention function is
registered with transformers' attention interface and used only while these rows are read.
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
from transformers import AttentionInterface

from cotlens.model.attention_interface import attention_function
from cotlens.model.cache import RoomyCache
from cotlens.model.language_model import LanguageModel
from cotlens.model.prefix import Prefix

__all__ = ["SharedRows"]

_NAME = "cotlens_shared_prefix"


@dataclass(frozen=True, slots=True)
class _Visible:
    """What the attention function needs to know of the current forward pass."""

    prefix: Prefix
    positions: Int[Tensor, "B C"]  # of every column so far, in its own text
    real: Bool[Tensor, "B C"]  # False for padding


_visible: ContextVar[_Visible] = ContextVar("cotlens_visible")


class SharedRows:
    """Suffixes padded on the left to one length; the prefix is held once."""

    def __init__(self, lm: LanguageModel, prefix: Prefix, suffixes: Sequence[Sequence[int]], room: int) -> None:
        width = max(len(suffix) for suffix in suffixes)
        ids = torch.zeros(len(suffixes), width, dtype=torch.long)
        real = torch.zeros(len(suffixes), width, dtype=torch.bool)
        for row, suffix in enumerate(suffixes):
            ids[row, width - len(suffix) :] = torch.tensor(suffix)
            real[row, width - len(suffix) :] = True
        self._lm = lm
        self._prefix = prefix
        self._ids = ids.to(lm.device)
        self._real = real.to(lm.device)
        # A padding column takes the position of the first real token; it is never looked at.
        self._positions = prefix.length + (self._real.cumsum(dim=1) - 1).clamp(min=0)
        self._cache = RoomyCache(lm.n_layers, room)

    def first(self) -> dict[str, Any]:
        """Arguments of the forward pass that reads the suffixes."""
        return self._arguments(self._ids, self._positions)

    def append(self, ids: Int[Tensor, " B"]) -> dict[str, Any]:
        """Arguments of the forward pass that reads one more token per row."""
        position = self._positions[:, -1:] + 1
        self._positions = torch.cat([self._positions, position], dim=1)
        self._real = torch.cat([self._real, torch.ones_like(self._real[:, :1])], dim=1)
        return self._arguments(ids[:, None], position)

    def keep(self, rows: Int[Tensor, " R"]) -> None:
        """Drop all rows but these."""
        self._positions, self._real = self._positions[rows], self._real[rows]
        self._cache.keep_rows(rows)

    @contextlib.contextmanager
    def attending(self) -> Iterator[None]:
        """While this is open, the model attends to the prefix and to these rows."""
        AttentionInterface.register(_NAME, _attention)
        token = _visible.set(_Visible(self._prefix, self._positions, self._real))
        try:
            with attention_function(self._lm.model, _NAME):
                yield
        finally:
            _visible.reset(token)

    def _arguments(self, ids: Tensor, positions: Tensor) -> dict[str, Any]:
        return {"input_ids": ids, "position_ids": positions, "past_key_values": self._cache, "use_cache": True}


def _attention(
    module: torch.nn.Module,
    query: Float[Tensor, "B Hq S d"],
    key: Float[Tensor, "B H C d"],
    value: Float[Tensor, "B H C dv"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "B S Hq dv"], None]:
    """Attention of ``S`` new tokens over the prefix and over all ``C`` columns of their own row."""
    visible = _visible.get()
    B, Hq, S, d = query.shape
    H, C, dv = value.shape[1:]
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
    shared = (prefix_weights.to(value.dtype) @ prefix_value).view(H, B, -1, dv).transpose(0, 1)
    return _to_rows((own + shared) / total.to(value.dtype), Hq, S), None


def _cap(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def _to_rows(out: Float[Tensor, "B H GS dv"], Hq: int, S: int) -> Float[Tensor, "B S Hq dv"]:
    return out.reshape(out.shape[0], Hq, S, out.shape[-1]).transpose(1, 2).contiguous()
