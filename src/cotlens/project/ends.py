"""The largest and smallest logits of many neurons at once, at little more than the cost of the matrix product.

A block of neurons is multiplied with one piece of the unembedding after the other. Each piece of logits is looked
through while it is still in the processor's cache: what is kept is the largest and the smallest logit of every group
of tokens, and a log-sum-exp. The best tokens of a neuron lie in its best groups, so those alone are searched.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["BlockProjection", "Ends", "project_block", "stable_top"]

#: Tokens in one piece of the unembedding: few enough that their logits stay in the cache.
PIECE = 2048
#: Tokens in one group; divides `PIECE`.
GROUP = 64

_LOG2_E = math.log2(math.e)


class Ends(NamedTuple):
    """One end of each neuron's logits, best first, equal ones by id."""

    ids: Int[Tensor, "n top_n"]
    logits: Float[Tensor, "n top_n"]


class BlockProjection(NamedTuple):
    """Both ends of a block of neurons, and the log-sum-exp of all their logits."""

    promoted: Ends
    suppressed: Ends
    log_sum: Float[Tensor, " n"]


class _Logits(NamedTuple):
    pieces: Float[Tensor, "pieces n tokens"]
    rest: Float[Tensor, "n rest"]
    """Of the last tokens, which are too few for a piece; they belong to no group."""
    highest: Float[Tensor, "n groups"]
    lowest: Float[Tensor, "n groups"]
    log_sum: Float[Tensor, " n"]


def project_block(
    values: Float[Tensor, "n D"], unembedding: Float[Tensor, "V D"], top_n: int, room: Float[Tensor, " room"]
) -> BlockProjection:
    """Project fp32 value vectors with an unembedding of any precision.

    ``room`` is overwritten; it holds the logits, so it has at least ``n * V`` elements.
    """
    logits = _multiply(values, unembedding, room)
    return BlockProjection(_find_ends(logits, top_n, True), _find_ends(logits, top_n, False), logits.log_sum)


def _multiply(values: Float[Tensor, "n D"], unembedding: Float[Tensor, "V D"], room: Float[Tensor, " room"]) -> _Logits:
    n, whole = len(values), len(unembedding) // PIECE
    pieces = room[: whole * n * PIECE].view(whole, n, PIECE)
    scratch, exact = values.new_empty(n, PIECE), values.new_empty(PIECE, values.shape[1])
    highest, lowest, log_sums = [values.new_empty(n, 0)], [values.new_empty(n, 0)], []
    for piece, rows in zip(pieces, torch.split(unembedding, PIECE), strict=False):
        torch.mm(values, _upcast(rows, exact).T, out=piece)
        groups = piece.view(n, PIECE // GROUP, GROUP)
        highest.append(groups.amax(dim=2))
        lowest.append(groups.amin(dim=2))
        log_sums.append(_log_sum_exp(piece, highest[-1].amax(dim=1), scratch))
    rest = values @ unembedding[whole * PIECE :].float().T
    if rest.shape[1]:
        log_sums.append(_log_sum_exp(rest, rest.amax(dim=1), scratch[:, : rest.shape[1]]))
    log_sum = torch.stack(log_sums).logsumexp(dim=0)
    return _Logits(pieces, rest, torch.cat(highest, dim=1), torch.cat(lowest, dim=1), log_sum)


def _upcast(rows: Float[Tensor, "tokens D"], exact: Float[Tensor, "tokens D"]) -> Float[Tensor, "tokens D"]:
    return rows if rows.dtype == exact.dtype else exact.copy_(rows)


def _log_sum_exp(
    logits: Float[Tensor, "n tokens"], highest: Float[Tensor, " n"], scratch: Float[Tensor, "n tokens"]
) -> Float[Tensor, " n"]:
    # On a CPU exp2 takes a third of the time of exp.
    powers = torch.sub(logits, highest[:, None], out=scratch).mul_(_LOG2_E).exp2_()
    return powers.sum(dim=1).log_().add_(highest)


def _find_ends(logits: _Logits, top_n: int, largest: bool) -> Ends:
    """Search the ``top_n`` best groups, in the order of their ids, and the rest.

    A group that is not among them comes after ``top_n`` groups that each have a better token. Groups are runs of ids,
    so that holds for equal logits too.
    """
    n, count, device = len(logits.rest), logits.highest.shape[1], logits.rest.device
    extremes = logits.highest if largest else logits.lowest
    groups = stable_top(extremes, min(top_n, count), largest).sort(dim=1).values
    piece, place = groups // (PIECE // GROUP), groups % (PIECE // GROUP)
    by_group = logits.pieces.view(len(logits.pieces), n, PIECE // GROUP, GROUP)
    candidates = torch.cat(
        [by_group[piece, torch.arange(n, device=device)[:, None], place].flatten(1), logits.rest], dim=1
    )
    ids = torch.cat(
        [
            (groups[:, :, None] * GROUP + torch.arange(GROUP, device=device)).flatten(1),
            torch.arange(logits.rest.shape[1], device=device).expand(n, -1) + count * GROUP,
        ],
        dim=1,
    )
    best = stable_top(candidates, top_n, largest)
    return Ends(ids.gather(1, best).int(), candidates.gather(1, best))


def stable_top(values: Float[Tensor, "n width"], k: int, largest: bool = True) -> Int[Tensor, "n k"]:
    """Indices of the ``k`` largest or smallest of each row, best first, equal values by index."""
    top = values.topk(k, dim=1, largest=largest)
    reached = values >= top.values[:, -1:] if largest else values <= top.values[:, -1:]
    tied = (top.values[:, 1:] == top.values[:, :-1]).any(dim=1) | (reached.sum(dim=1) > k)
    if bool(tied.any()):
        top.indices[tied] = values[tied].sort(dim=1, descending=largest, stable=True).indices[:, :k]
    return top.indices
