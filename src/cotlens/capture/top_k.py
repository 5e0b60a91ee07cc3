"""Hooks that keep the top-K coefficients of every layer, and nothing else.

The hook reads the input of the down projection, reduces it to K neurons per recorded position at once, and returns
nothing: the forward pass is bit for bit what it was, and memory grows with neither width nor length of the text.
Rankers that need more than coefficients have a recorder of their own in `cotlens.capture.residuals`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from cotlens.capture.rankers import LayerTrace, Ranker, find_ranker
from cotlens.errors import InputError, NonFiniteError
from cotlens.model.language_model import LanguageModel
from cotlens.types import TopNeurons

__all__ = [
    "LayerTop",
    "Recorder",
    "TopKRecorder",
    "best_of_layer",
    "capture_top_neurons",
    "check_top_k",
    "concatenate",
    "select_top_k",
    "stack_layers",
]


#: Steps that are scored at a time on a CPU: their coefficients stay in its cache from the first operation to the last.
_CACHED_ROWS = 128


class LayerTop(NamedTuple):
    """The top-K of one layer at ``T`` steps; ``finite`` says whether all its coefficients and value vectors are."""

    neuron: Int64[Tensor, "T K"]
    coefficient: Float[Tensor, "T K"]
    score: Float[Tensor, "T K"]
    finite: Tensor


@runtime_checkable
class Recorder(Protocol):
    """Hooks on a model that keep the top-K neurons of each forward pass."""

    positions: Int64[Tensor, " T"] | None
    """Indices into the flattened ``[B * S]`` tokens of the next forward pass; None records nothing."""
    targets: Int64[Tensor, " T"] | None
    """The token that follows each of these positions; rankers on coefficients alone don't look at it."""

    def take(self) -> TopNeurons:
        """The top-K at the recorded positions, in their order, as arrays ``[T, L, K]``; the recorder is empty then."""
        ...

    def forget(self) -> None:
        """Drop what a forward pass left that came to no end."""
        ...


class TopKRecorder:
    """Receives the top-K of each layer; `take` hands over what one forward pass left."""

    def __init__(self, lm: LanguageModel, top_k: int, ranker: Ranker) -> None:
        self._top_k = top_k
        self._ranker = ranker
        self._norms = [ffn.value_norms() for ffn in lm.ffn]
        self._found: list[LayerTop] = []
        self.positions: Int64[Tensor, " T"] | None = None
        self.targets: Int64[Tensor, " T"] | None = None

    def hook(self, layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep_top_k(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self.positions is None:
                return
            flat = inputs[0].detach().reshape(-1, inputs[0].shape[-1])
            at = self.positions.to(flat.device)  # layers may lie on several devices
            rows = torch.split(at, _CACHED_ROWS) if flat.device.type == "cpu" else (at,)
            traces = (LayerTrace(flat[some].float(), self._norms[layer], self._top_k) for some in rows)
            self._found.append(_joined([best_of_layer(self._ranker, trace) for trace in traces]))

        return keep_top_k

    def take(self) -> TopNeurons:
        """The top-K at the recorded positions, in their order, as arrays ``[T, L, K]``.

        Raises:
            NonFiniteError: a coefficient is NaN or infinite; the message names the layer.
        """
        found, self._found = self._found, []
        return stack_layers(found)

    def forget(self) -> None:
        """Drop what a forward pass left that came to no end."""
        self._found = []


def best_of_layer(ranker: Ranker, trace: LayerTrace) -> LayerTop:
    """Score one layer and keep its best."""
    score = ranker.score(trace)
    neuron = select_top_k(score, trace.top_k)
    finite = trace.coefficient.sum().isfinite() & trace.value_norm.sum().isfinite()
    return LayerTop(neuron, trace.coefficient.gather(1, neuron), score.gather(1, neuron), finite)


def _joined(parts: Sequence[LayerTop]) -> LayerTop:
    """The steps of one after those of the other."""
    if len(parts) == 1:
        return parts[0]
    neuron, coefficient, score = (torch.cat([part[column] for part in parts]) for column in range(3))
    return LayerTop(neuron, coefficient, score, torch.stack([part.finite for part in parts]).all())


def stack_layers(layers: Sequence[LayerTop]) -> TopNeurons:
    """The layers of one pass as arrays ``[T, L, K]``.

    Raises:
        NonFiniteError: a value is NaN or infinite; the message names the layer.
    """
    # Scores may depend on later layers, so the layer where it began is looked for first.
    for sound in ([top.finite for top in layers], [top.score.isfinite().all() for top in layers]):
        for layer, finite in enumerate(sound):
            if not bool(finite):
                raise NonFiniteError(f"layer {layer}: the model's activations are not finite (NaN or infinity)")
    device = layers[0].score.device
    columns = ([top[column].to(device) for top in layers] for column in range(3))
    neuron, coefficient, score = (torch.stack(column, dim=1).cpu().numpy() for column in columns)
    return TopNeurons(neuron.astype(np.int32), coefficient.astype(np.float32), score.astype(np.float32))


def concatenate(found: Sequence[TopNeurons]) -> TopNeurons:
    """The steps of one after those of the other."""
    return TopNeurons(
        np.concatenate([top.neuron for top in found]),
        np.concatenate([top.coefficient for top in found]),
        np.concatenate([top.score for top in found]),
    )


def select_top_k(score: Float[Tensor, "T F"], k: int) -> Int[Tensor, "T k"]:
    """Indices of the ``k`` largest scores of each row, best first; equal scores by index."""
    width = score.shape[1]
    values, index = score.topk(min(k + 1, width), dim=1)
    if bool((values[:, 1:] == values[:, :-1]).any()):
        return score.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return index[:, :k]


def check_top_k(lm: LanguageModel, top_k: int) -> None:
    """Raise an `InputError` if a layer has fewer than ``top_k`` neurons."""
    narrowest = min(ffn.width for ffn in lm.ffn)
    if not 1 <= top_k <= narrowest:
        raise InputError(f"top_k is {top_k}; {lm.name} has {narrowest} neurons per layer, so give 1 to {narrowest}")


@contextlib.contextmanager
def capture_top_neurons(lm: LanguageModel, top_k: int, ranker: str = "norm") -> Iterator[TopKRecorder]:
    """Record the top-K neurons of every forward pass in the block; hooks are gone after it, whatever happens.

    Raises:
        InputError: ``top_k`` is above the width, or ``ranker`` is none that goes by coefficients alone.
    """
    chosen = find_ranker(ranker)
    if chosen.needs != "coefficients":
        raise InputError(f"ranker {ranker!r} needs {chosen.needs}, not coefficients alone; use top_neurons")
    check_top_k(lm, top_k)
    recorder = TopKRecorder(lm, top_k, chosen)
    with contextlib.ExitStack() as stack:
        for ffn in lm.ffn:
            handle = ffn.down_projection.register_forward_pre_hook(recorder.hook(ffn.layer))
            stack.callback(handle.remove)
        yield recorder
