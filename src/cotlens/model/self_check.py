"""The view of a model, checked against the model itself when it loads.

A layout that fits by its names may still be wrong: a block that scales its output, or that goes round its down
projection. So the block is run on random input, and the sum of the coefficients times the value vectors must be what it
returns.
"""

from __future__ import annotations

import inspect

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cotlens.errors import ModelFormatError
from cotlens.model.feed_forward import FeedForward

__all__ = ["check_feed_forward"]

#: Largest difference, relative to the largest output. A wrong view is off by about 1; this leaves room for rounding.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2}
#: That of bfloat16 and of quantised weights.
_COARSE = 5e-2
_REMEDY = (
    "the weights are damaged, or the layout does not describe this architecture; see register_layout in "
    "cotlens.model.architecture"
)


@torch.no_grad()
def check_feed_forward(ffn: FeedForward, model_name: str) -> None:
    """Check that the block's output on random input is ``sum_i m_i v_i``, plus the projection's bias.

    Raises:
        ModelFormatError: it is not; the message says in which layer and by how much.
    """
    where = f"{model_name}, layer {ffn.layer}"
    loaded = ffn.value_vectors
    if loaded.is_meta:
        return  # there are no numbers to check
    width = ffn.width if ffn.block is None else ffn.d_model
    generator = torch.Generator().manual_seed(0)  # of its own, so that loading a model changes no other draw
    random = torch.randn(1, 2, width, generator=generator).to(loaded.device, loaded.dtype)
    coefficients, output = _run(ffn, random, where)
    values = ffn.value_vectors  # those that the block has now: running it may pack a quantised weight anew
    bias = getattr(ffn.down_projection, "bias", None)
    expected = coefficients.to(values.dtype) @ values + (0 if bias is None else bias)
    if output.numel() != expected.numel():
        raise ModelFormatError(f"{where}: the feed-forward block returns {tuple(output.shape)}; {_REMEDY}")
    expected, output = expected.flatten().float(), output.flatten().float()
    off = float((expected - output).abs().max() / output.abs().max().clamp_min(1e-30))
    stored = getattr(getattr(ffn.down_projection, "weight", None), "dtype", None)
    if not off <= (_TOLERANCE.get(values.dtype, _COARSE) if stored == values.dtype else _COARSE):
        raise ModelFormatError(
            f"{where}: the feed-forward block does not return the sum of its coefficients times its value vectors "
            f"(off by {off:.2g} of the largest entry); {_REMEDY}"
        )


def _run(ffn: FeedForward, random: Tensor, where: str) -> tuple[Float[Tensor, "... F"], Tensor]:
    """Coefficients and output of the block; where there is no block, random coefficients and what is made of them."""
    if ffn.block is None:
        return random, ffn.down_projection(random)
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    handle = ffn.down_projection.register_forward_pre_hook(keep)
    try:
        # BLOOM's block also takes the residual, which it adds to its output.
        output = ffn.block(random, *[torch.zeros_like(random)] * (_required_inputs(ffn.block) - 1))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{where}: the feed-forward block can't be run: {error}; {_REMEDY}") from error
    finally:
        handle.remove()
    if len(seen) != 1:
        raise ModelFormatError(
            f"{where}: the feed-forward block calls its down projection {len(seen)} times, not once; {_REMEDY}"
        )
    return seen[0], output


def _required_inputs(block: nn.Module) -> int:
    parameters = inspect.signature(block.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
