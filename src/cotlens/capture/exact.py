"""Exact coefficients: of chosen neurons at every step, and of all neurons on average over reference texts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from cotlens.capture.passages import Passage, check_length
from cotlens.errors import InputError, NonFiniteError
from cotlens.model.feed_forward import FeedForward
from cotlens.model.language_model import LanguageModel
from cotlens.types import NeuronId

__all__ = ["coefficients", "mean_coefficients"]


@torch.inference_mode()
def coefficients(
    lm: LanguageModel, token_ids: Sequence[int], prompt_length: int, neurons: Iterable[tuple[int, int]]
) -> Float32[np.ndarray, "T N"]:
    """The coefficients of chosen neurons at every step, whether active or not.

    Args:
        lm: the model.
        token_ids: prompt and completion.
        prompt_length: how many of them are the prompt, at least 1; the rest are the ``T`` steps.
        neurons: pairs of layer and index, both 0-based.

    Returns:
        Signed coefficients ``[T, N]``, one column per neuron in the order given.

    Raises:
        InputError: no step, an id out of range, or a neuron that the model has not got.
        NonFiniteError: a coefficient is NaN or infinite; the message names the layer.
    """
    passage = Passage(token_ids, prompt_length)
    passage.check(lm)
    wanted = [NeuronId(*pair) for pair in neurons]
    for neuron in wanted:
        lm.check_neuron(neuron)
    columns = {ffn.layer: [n for n, neuron in enumerate(wanted) if neuron.layer == ffn.layer] for ffn in lm.ffn}
    found = np.empty((passage.steps, len(wanted)), dtype=np.float32)

    def keep(layer: int, m: Float[Tensor, "S F"]) -> None:
        index = torch.tensor([wanted[n].neuron for n in columns[layer]], device=m.device)
        found[:, columns[layer]] = _finite(layer, m[prompt_length - 1 :, index].float()).cpu().numpy()

    with _each_layer([ffn for ffn in lm.ffn if columns[ffn.layer]], keep):
        _read(lm, token_ids[:-1])
    return found


@torch.inference_mode()
def mean_coefficients(lm: LanguageModel, texts: Iterable[str]) -> list[Float32[np.ndarray, " F"]]:
    """The mean coefficient of every neuron over all tokens of ``texts``, for mean ablation.

    Each token counts once, whatever the length of its text, the special tokens that begin a text included. Sums are
    fp32; nothing but them is kept.

    Returns:
        One array per layer.

    Raises:
        InputError: no text, an empty one, or one that is longer than the model's context.
        NonFiniteError: a coefficient is NaN or infinite; the message names the layer.
    """
    if isinstance(texts, str):
        raise InputError("mean_coefficients takes a list of texts; put the one text into a list")
    sums = [torch.zeros(ffn.width, device=ffn.value_vectors.device) for ffn in lm.ffn]
    tokens = 0

    def add(layer: int, m: Float[Tensor, "S F"]) -> None:
        sums[layer] += _finite(layer, m.float().sum(dim=0))

    with _each_layer(lm.ffn, add):
        for number, text in enumerate(texts):
            ids = lm.encode(text)
            if not ids:
                raise InputError(f"text {number} is empty; a mean needs at least one token")
            check_length(lm, len(ids), f"text {number}")
            _read(lm, ids)
            tokens += len(ids)
    if not tokens:
        raise InputError("no text was given; a mean needs at least one")
    return [(total / tokens).cpu().numpy() for total in sums]


def _read(lm: LanguageModel, ids: Sequence[int]) -> None:
    lm.model.base_model(torch.tensor([list(ids)], device=lm.device), use_cache=False)


@contextlib.contextmanager
def _each_layer(ffns: Iterable[FeedForward], keep: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Hand the coefficients ``[S, F]`` of each of these layers to ``keep``; the hooks are gone after the block."""

    def hook(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: keep(layer, inputs[0].reshape(-1, inputs[0].shape[-1]))

    with contextlib.ExitStack() as stack:
        for ffn in ffns:
            stack.callback(ffn.down_projection.register_forward_pre_hook(hook(ffn.layer)).remove)
        yield


def _finite(layer: int, values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise NonFiniteError(f"layer {layer}: the model's activations are not finite (NaN or infinity)")
    return values
