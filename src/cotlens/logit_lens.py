"""The logit lens: what the residual stream after each layer would say next, read as if it were the last.

The source is nostalgebraist, "interpreting GPT: the logit lens" (2020).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cotlens.capture.readout import Readout
from cotlens.capture.wiring import decoder_layers, find_wiring, tensor_of
from cotlens.model.language_model import LanguageModel

__all__ = ["Streams", "read_layers", "read_streams"]


class Streams(NamedTuple):
    """One forward pass over a text."""

    logits: Float[Tensor, "S V"]
    """What the model says, in fp32."""
    layers: tuple[Float[Tensor, "S D"], ...]
    """The residual stream after each layer, in fp32, where the unembedding is; the last goes into the final norm."""


@torch.inference_mode()
def read_streams(lm: LanguageModel, ids: Sequence[int]) -> Streams:
    """Read ``ids`` and keep the residual stream after every layer."""
    streams: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        for layer in decoder_layers(lm):
            stack.callback(layer.register_forward_hook(lambda _, __, out: streams.append(tensor_of(out))).remove)
        logits = lm.model(torch.tensor([list(ids)], device=lm.device), use_cache=False).logits
    place = lm.unembedding.device
    return Streams(logits[0].float(), tuple(stream.reshape(len(ids), -1).float().to(place) for stream in streams))


@torch.inference_mode()
def read_layers(lm: LanguageModel, streams: Streams, following: Sequence[int]) -> list[list[dict[str, Any]]]:
    """For each token that was read, and each layer: the likeliest next token, and the probability of the one in
    ``following``, which comes.

    The stream goes through the final norm and the unembedding, in fp32. After the last layer that is what the model
    itself says.

    Returns:
        ``[step][layer]``: ``token``, ``probability`` and ``next_probability``.

    Raises:
        ModelFormatError: no norm follows the last layer, so there is nothing to read a stream through.
    """
    readout = Readout(lm, find_wiring(lm))
    steps: list[list[dict[str, Any]]] = [[] for _ in following]
    next_ids = torch.tensor(list(following))
    for stream in streams.layers:
        said = readout.logits(stream).softmax(dim=-1).cpu()
        best = said.max(dim=-1)
        comes = said.gather(1, next_ids[:, None])[:, 0]
        for step, (token, most, own) in enumerate(zip(best.indices, best.values, comes, strict=True)):
            steps[step].append(
                {"token": lm.token_text(int(token)), "probability": float(most), "next_probability": float(own)}
            )
    return steps
