"""Hooks that keep the top-K coefficients of every layer, and nothing else.

The hook reads the input of the down projection, reduces it to K neurons per recorded position at once, and returns
nothing: the forward pass is bit for bit what it was, and memory grows with neither width nor length of the text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from cotlens.errors import InputError, NonFiniteError, near_match
from cotlens.model.language_model import LanguageModel
from cotlens.types import TopNeurons

__all__ = ["RANKERS", "TopKRecorder", "capture_top_neurons", "select_top_k"]

#: A ranker gives every neuron of a layer its score: (coefficients [T, F], value norms [F]) -> scores [T, F].
Ranker = Callable[[Tensor, Tensor], Tensor]

RANKERS: dict[str, Ranker] = {
    # |m_i| * ||v_i||, the length of what a neuron adds to the residual stream (Geva et al., 2022; Rai & Yao, 2024)
    "norm": lambda coefficient, value_norm: coefficient.abs() * value_norm,
}


class TopKRecorder:
    """Receives the top-K of each layer; `take` hands over what one forward pass left."""

    def __init__(self, lm: LanguageModel, top_k: int, ranker: str) -> None:
        if ranker not in RANKERS:
            raise InputError(f"ranker {ranker!r} is not known{near_match(ranker, RANKERS)}")
        narrowest = min(ffn.width for ffn in lm.ffn)
        if not 1 <= top_k <= narrowest:
            raise InputError(f"top_k is {top_k}; {lm.name} has {narrowest} neurons per layer, so give 1 to {narrowest}")
        self._top_k = top_k
        self._rank = RANKERS[ranker]
        self._norms = [ffn.value_norms() for ffn in lm.ffn]
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []
        self.positions: Int64[Tensor, " T"] | None = None
        """Indices into the flattened ``[B * S]`` tokens of the next forward pass; None records nothing."""

    def hook(self, layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep_top_k(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self.positions is None:
                return
            flat = inputs[0].detach().reshape(-1, inputs[0].shape[-1])
            coefficient = flat[self.positions].float()
            score = self._rank(coefficient, self._norms[layer])
            neuron = select_top_k(score, self._top_k)
            self._found.append((neuron, coefficient.gather(1, neuron), score.gather(1, neuron)))

        return keep_top_k

    def take(self) -> TopNeurons:
        """The top-K at the recorded positions, in their order, as arrays ``[T, L, K]``.

        Raises:
            NonFiniteError: a coefficient is NaN or infinite; the message names the layer.
        """
        found, self._found = self._found, []
        for layer, (_, _, score) in enumerate(found):
            # NaN and infinity rank first, so looking at the best is looking at all.
            if not bool(score.isfinite().all()):
                raise NonFiniteError(f"layer {layer}: the model's activations are not finite (NaN or infinity)")
        arrays = [torch.stack(parts, dim=1).cpu().numpy() for parts in zip(*found, strict=True)]
        return TopNeurons(arrays[0].astype(np.int32), arrays[1].astype(np.float32), arrays[2].astype(np.float32))


def select_top_k(score: Float[Tensor, "T F"], k: int) -> Int[Tensor, "T k"]:
    """Indices of the ``k`` largest scores of each row, best first; equal scores by index."""
    width = score.shape[1]
    values, index = score.topk(min(k + 1, width), dim=1)
    if bool((values[:, 1:] == values[:, :-1]).any()):
        return score.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return index[:, :k]


@contextlib.contextmanager
def capture_top_neurons(lm: LanguageModel, top_k: int, ranker: str = "norm") -> Iterator[TopKRecorder]:
    """Record the top-K neurons of every forward pass in the block; hooks are gone after it, whatever happens."""
    recorder = TopKRecorder(lm, top_k, ranker)
    with contextlib.ExitStack() as stack:
        for ffn in lm.ffn:
            handle = ffn.down_projection.register_forward_pre_hook(recorder.hook(ffn.layer))
            stack.callback(handle.remove)
        yield recorder
