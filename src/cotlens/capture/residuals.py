"""Capture for rankers that follow a neuron's writing to the logits: besides coefficients, the residual stream.

The hooks keep, for every layer and recorded position, all coefficients, what the feed-forward block added, and the
residual stream after it; the layers are scored when the forward pass has ended. That is ``F + 3 D`` numbers for each
layer and position, where the top-K path keeps ``3 K``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from cotlens.capture.rankers import LayerTrace, Ranker
from cotlens.capture.readout import Norm, Readout
from cotlens.capture.top_k import LayerTop, best_of_layer, stack_layers
from cotlens.capture.wiring import Wiring, find_wiring, tensor_of
from cotlens.capture.writing import Writing
from cotlens.model.feed_forward import FeedForward
from cotlens.model.language_model import LanguageModel
from cotlens.types import TopNeurons

__all__ = ["ResidualRecorder", "record_residuals"]


class ResidualRecorder:
    """Receives coefficients and residual streams; `take` scores what one forward pass left."""

    def __init__(self, lm: LanguageModel, top_k: int, ranker: Ranker, wiring: Wiring) -> None:
        self._lm = lm
        self._top_k = top_k
        self._ranker = ranker
        self._readout = Readout(lm, wiring)
        self._multiplier = wiring.residual_multiplier
        self._device = lm.unembedding.device
        self._norms = [ffn.value_norms().to(self._device) for ffn in lm.ffn]
        self._post_norms = [
            None if ffn.post_norm is None else Norm(ffn.post_norm, lm.d_model, self._device) for ffn in lm.ffn
        ]
        self.positions: Int64[Tensor, " T"] | None = None
        self.targets: Int64[Tensor, " T"] | None = None
        self.forget()

    def forget(self) -> None:
        """Drop what a forward pass left that came to no end."""
        self._coefficients: list[Tensor] = []  # each [T, F]
        self._block_outputs: list[Tensor] = []  # each [T, D]; after the down projection, before any norm
        self._added: list[Tensor] = []  # each [T, D]; what joins the residual stream, multiplied where that is done
        self._streams: list[Tensor] = []  # each [T, D]; after the layer

    def keep_coefficients(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._keep(self._coefficients, inputs[0])

    def keep_block_output(self, _: nn.Module, __: object, output: Tensor) -> None:
        self._keep(self._block_outputs, output)

    def keep_added(self, _: nn.Module, __: object, output: Tensor) -> None:
        self._keep(self._added, output)

    def keep_stream(self, _: nn.Module, __: object, output: Any) -> None:
        self._keep(self._streams, tensor_of(output))

    def take(self) -> TopNeurons:
        """The top-K at the recorded positions, in their order, as arrays ``[T, L, K]``.

        Raises:
            NonFiniteError: a value is NaN or infinite; the message names the layer.
        """
        try:
            return stack_layers([self._best(ffn) for ffn in self._lm.ffn])
        finally:
            self.forget()

    def _best(self, ffn: FeedForward) -> LayerTop:
        coefficient = self._coefficients[ffn.layer]
        trace = LayerTrace(coefficient, self._norms[ffn.layer], self._top_k, self._writing(ffn, coefficient))
        return best_of_layer(self._ranker, trace)

    def _writing(self, ffn: FeedForward, coefficient: Float[Tensor, "T F"]) -> Writing:
        assert self.targets is not None
        amount, vectors = coefficient, ffn.value_vectors.float().to(self._device)
        post_norm = self._post_norms[ffn.layer]
        if post_norm is not None:
            amount = coefficient * post_norm.scale(self._block_outputs[ffn.layer])[:, None]
            vectors = post_norm.through(vectors)
        amount = self._multiplier * amount
        before = self._streams[ffn.layer] - self._multiplier * self._added[ffn.layer]
        targets = self.targets.to(self._device)
        return Writing(amount, vectors, before, self._streams[-1], targets, self._readout)

    def _keep(self, kept: list[Tensor], value: Tensor) -> None:
        if self.positions is not None:
            flat = value.detach().reshape(-1, value.shape[-1])
            # Layers may lie on several devices; scores are computed where the unembedding is.
            kept.append(flat[self.positions.to(flat.device)].float().to(self._device))


@contextlib.contextmanager
def record_residuals(lm: LanguageModel, top_k: int, ranker: Ranker) -> Iterator[ResidualRecorder]:
    """Record every forward pass in the block; hooks are gone after it, whatever happens.

    Raises:
        ModelFormatError: neurons have no part of their own in the logits of this model.
    """
    wiring = find_wiring(lm)
    recorder = ResidualRecorder(lm, top_k, ranker, wiring)
    with contextlib.ExitStack() as stack:
        for ffn, layer in zip(lm.ffn, wiring.layers, strict=True):
            last = ffn.down_projection if ffn.post_norm is None else ffn.post_norm
            for handle in (
                ffn.down_projection.register_forward_pre_hook(recorder.keep_coefficients),
                ffn.down_projection.register_forward_hook(recorder.keep_block_output),
                last.register_forward_hook(recorder.keep_added),
                layer.register_forward_hook(recorder.keep_stream),
            ):
                stack.callback(handle.remove)
        yield recorder
