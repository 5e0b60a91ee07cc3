"""Attention over a part of what a token sees, and the exact merging of parts.

Attention over two parts is the mean of what each part gives, weighted by the exponentials of their log-sum-exps. So a
beginning that many rows share is attended to in one matrix product for all of them, without a copy per row (the idea of
Hydragen, Juravsky et al., 2024).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Part", "Sight", "attend", "merge", "sight"]

#: Rows of scores that are held at once; more would leave the processor's cache.
_ROWS_AT_ONCE = 256
#: PyTorch's fused kernel for CPUs, the one that gives the log-sum-exp too. Not public, so it may be gone one day.
_fused: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


class Part(NamedTuple):
    """What attention over some columns gives each of ``S`` tokens."""

    out: Float[Tensor, "B Hq S dv"]
    """Mean of the values, weighted by the softmax over these columns; zero where no column is seen."""
    lse: Float[Tensor, "B Hq S"]
    """Log of the sum of the exponentials of the scores, fp32."""


class Sight(NamedTuple):
    """Which columns each token sees."""

    bias: Float[Tensor, "b 1 s C"]
    """Added to the scores: zero, or minus infinity where a token does not see a column."""
    blind: Bool[Tensor, "b 1 s"] | None
    """Tokens that see no column; None where there are none."""


def sight(seen: Bool[Tensor, "b s C"], dtype: torch.dtype, maybe_blind: bool) -> Sight:
    """From the columns that each token sees; only with ``maybe_blind`` may there be tokens that see none."""
    bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
    return Sight(bias[:, None], ~seen.any(dim=-1)[:, None] if maybe_blind else None)


def attend(
    query: Float[Tensor, "B Hq S d"],
    key: Float[Tensor, "B H C d"],
    value: Float[Tensor, "B H C dv"],
    sight: Sight | None,
    softcap: float | None,
) -> Part:
    """Attention of every token to ``C`` columns, or to those of them in ``sight``.

    ``query`` is scaled already; query heads that share a key head lie next to each other.
    """
    B, Hq, S, d = query.shape
    H = key.shape[1]
    folded = query.reshape(B, H, Hq // H * S, d)  # rows of all heads that share a key, in one matrix product
    bias = None if sight is None else sight.bias
    if bias is not None and bias.shape[2] == S > 1 and Hq > H:
        bias = bias.repeat(1, 1, Hq // H, 1)
    if _fused is not None and query.device.type == "cpu" and softcap is None and value.shape[3] == d:
        out, lse = _fused(folded, key, value, 0.0, False, attn_mask=bias, scale=1.0)
        if lse.shape[1:] != folded.shape[1:3]:
            lse = lse.transpose(1, 2)
    else:
        out, lse = _in_pieces(folded, key, value, bias, softcap)
    out, lse = out.reshape(B, Hq, S, -1), lse.reshape(B, Hq, S)
    if sight is not None and sight.blind is not None:
        out, lse = out.masked_fill(sight.blind[..., None], 0), lse.masked_fill(sight.blind, float("-inf"))
    return Part(out, lse)


def merge(first: Part, second: Part) -> Float[Tensor, "*T dv"]:
    """Attention over the columns of both parts, of which at least one gave every token something."""
    weight = (second.lse - first.lse).sigmoid()[..., None]
    return torch.lerp(first.out, second.out, weight.to(first.out.dtype))


def _in_pieces(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, softcap: float | None
) -> tuple[Tensor, Tensor]:
    pieces = []
    columns = key.transpose(2, 3)
    for start in range(0, query.shape[2], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        scores = query[:, :, rows] @ columns
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        scores = scores.float()
        if bias is not None:
            scores += bias if bias.shape[2] == 1 else bias[:, :, rows]
        lse = scores.logsumexp(dim=-1)
        weights = scores.sub_(lse[..., None]).exp_()
        pieces.append((weights.to(value.dtype) @ value, lse))
    if len(pieces) == 1:
        return pieces[0]
    out, lse = (torch.cat(tensors, dim=2) for tensors in zip(*pieces, strict=True))
    return out, lse
