"""The logit lens, recorded on the way: after every layer the tokens that the residual stream would say next.

The stream goes through the final norm and the unembedding, in fp32, as if the layer were the last; after the last layer
that is what the model says. Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from cotlens.capture.readout import Readout
from cotlens.capture.top_k import select_top_k
from cotlens.capture.wiring import decoder_layers, find_wiring
from cotlens.capture.writing import LOGITS_AT_ONCE
from cotlens.errors import InputError, NonFiniteError
from cotlens.model.language_model import LanguageModel

__all__ = ["LensRecorder", "LensTop", "join_lenses", "record_lens"]


class LensTop(NamedTuple):
    """The likeliest tokens after each layer at ``T`` steps, likeliest first, equal ones by id."""

    token: Int32[np.ndarray, "T L n"]
    probability: Float32[np.ndarray, "T L n"]


class LensRecorder:
    """Receives the residual stream after each layer and keeps ``tokens`` tokens of it."""

    def __init__(self, lm: LanguageModel, tokens: int) -> None:
        self._readout = Readout(lm, find_wiring(lm))
        self._device = lm.unembedding.device
        self._tokens = tokens
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._finished: list[LensTop] = []
        self.positions: Int64[Tensor, " T"] | None = None
        """Indices into the flattened ``[B * S]`` tokens of the next forward pass; None records nothing."""

    def after_layer(self, _: Any, __: Any, output: Any) -> None:
        self._keep(output[0] if isinstance(output, tuple) else output)

    def before_norm(self, _: Any, inputs: tuple[Tensor, ...]) -> None:
        self._keep(inputs[0])

    def finish(self) -> None:
        """The forward pass has come to its end; what it left is kept for `take`.

        Raises:
            NonFiniteError: a probability is NaN; the message names the layer.
        """
        for layer, (_, probability) in enumerate(self._layers):
            if not bool(probability.isfinite().all()):
                raise NonFiniteError(
                    f"layer {layer}: the logits of the residual stream are not finite (NaN or infinity)"
                )
        tokens, probabilities = (torch.stack(each, dim=1).cpu().numpy() for each in zip(*self._layers, strict=True))
        self._finished.append(LensTop(tokens.astype(np.int32), probabilities))
        self.forget()

    def take(self) -> LensTop:
        """What the passes since the last time have left, in their order."""
        finished, self._finished = self._finished, []
        return join_lenses(finished)

    def forget(self) -> None:
        """Drop what a forward pass left that came to no end."""
        self._layers = []

    def _keep(self, stream: Tensor) -> None:
        if self.positions is None:
            return
        flat = stream.detach().reshape(-1, stream.shape[-1])
        at = self.positions.to(flat.device)  # layers may lie on several devices
        rows = torch.split(at, max(1, LOGITS_AT_ONCE // self._readout.vocabulary))
        found = [self._likeliest(flat[some].float().to(self._device)) for some in rows]
        self._layers.append((torch.cat([token for token, _ in found]), torch.cat([each for _, each in found])))

    def _likeliest(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._readout.logits(stream)
        token = select_top_k(logits, self._tokens)
        return token, (logits.gather(1, token) - logits.logsumexp(dim=1, keepdim=True)).exp()


def join_lenses(found: Sequence[LensTop]) -> LensTop:
    """The steps of all, one after the other."""
    return LensTop(*(np.concatenate(each) for each in zip(*found, strict=True)))


@contextlib.contextmanager
def record_lens(lm: LanguageModel, tokens: int) -> Iterator[LensRecorder]:
    """Record every forward pass in the block; hooks are gone after it, whatever happens.

    Raises:
        InputError: the vocabulary has fewer than ``tokens`` tokens.
        ModelFormatError: the decoder layers were not found.
    """
    vocabulary = len(lm.unembedding)
    if not 1 <= tokens <= vocabulary:
        raise InputError(f"discover.logit_lens is {tokens}; give 0 to {vocabulary}, the size of the vocabulary")
    recorder = LensRecorder(lm, tokens)
    with contextlib.ExitStack() as stack:
        for layer in decoder_layers(lm)[:-1]:
            stack.callback(layer.register_forward_hook(recorder.after_layer).remove)
        stack.callback(lm.final_norm.register_forward_pre_hook(recorder.before_norm).remove)
        yield recorder
