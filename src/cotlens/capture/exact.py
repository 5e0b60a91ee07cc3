"""Exact coefficients: of chosen neurons at every step, and of all neurons in a reference text, on average or not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from cotlens.capture.passages import Passage, check_length
from cotlens.errors import InputError, NonFiniteError
from cotlens.model.feed_forward import FeedForward
from cotlens.model.language_model import LanguageModel
from cotlens.types import NeuronId

__all__ = ["coefficients", "mean_coefficients", "reference_coefficients"]


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
def mean_coefficients(lm: LanguageModel, texts: Iterable[str], skip: int = 0) -> list[Float32[np.ndarray, " F"]]:
    """The mean coefficient of every neuron over all tokens of ``texts``, for mean ablation.

    Each token counts once, whatever the length of its text. The special tokens that begin a text are tokens too; the
    first token is one that many models attend to in order to attend to nothing, with coefficients unlike those of any
    other, and ``skip=1`` leaves it out. Sums are fp32; nothing but them is kept.

    Args:
        lm: the model.
        texts: the reference.
        skip: so many tokens at the beginning of each text are read and do not count.

    Returns:
        One array per layer.

    Raises:
        InputError: no text, an empty one, one that is longer than the model's context, or no token that counts.
        NonFiniteError: a coefficient is NaN or infinite; the message names the layer.
    """
    encoded = _encoded(lm, texts, skip, "mean_coefficients")
    sums = [torch.zeros(ffn.width, device=ffn.value_vectors.device) for ffn in lm.ffn]

    def add(layer: int, m: Float[Tensor, "S F"]) -> None:
        sums[layer] += _finite(layer, m[skip:].float().sum(dim=0))

    with _each_layer(lm.ffn, add):
        for text in encoded:
            _read(lm, text.ids)
    tokens = sum(text.counted for text in encoded)
    return [(total / tokens).cpu().numpy() for total in sums]


@torch.inference_mode()
def reference_coefficients(
    lm: LanguageModel, texts: Iterable[str], tokens: int = 256, seed: int = 0, skip: int = 1
) -> list[Float32[np.ndarray, "T F"]]:
    """The coefficients of every neuron at some tokens of ``texts``, for resample ablation.

    Args:
        lm: the model.
        texts: the reference.
        tokens: so many are drawn at random, each at most once; all where there are no more.
        seed: of the draw.
        skip: so many tokens at the beginning of each text are never drawn (see `mean_coefficients`).

    Returns:
        One array per layer; a row of one is the same token as that row of another.

    Raises:
        InputError: fewer than one token asked for, no text, an empty one, one that is longer than the model's context,
            or no token that counts.
        NonFiniteError: a coefficient is NaN or infinite; the message names the layer.
    """
    if tokens < 1:
        raise InputError(f"tokens is {tokens}; give at least 1")
    encoded = _encoded(lm, texts, skip, "reference_coefficients")
    ends = np.cumsum([text.counted for text in encoded])
    chosen = np.sort(np.random.default_rng(seed).permutation(ends[-1])[:tokens])
    found: list[list[Tensor]] = [[] for _ in lm.ffn]
    rows = torch.empty(0, dtype=torch.int64)

    def keep(layer: int, m: Float[Tensor, "S F"]) -> None:
        found[layer].append(_finite(layer, m[rows.to(m.device)].float()).cpu())

    with _each_layer(lm.ffn, keep):
        for text, end in zip(encoded, ends, strict=True):
            start = end - text.counted
            rows = torch.from_numpy(chosen[(chosen >= start) & (chosen < end)] - start + skip)
            if len(rows):
                _read(lm, text.ids)
    return [torch.cat(layer).numpy() for layer in found]


class _Counted(NamedTuple):
    """A text, and how many of its tokens count: the last ones."""

    ids: list[int]
    counted: int


def _encoded(lm: LanguageModel, texts: Iterable[str], skip: int, caller: str) -> list[_Counted]:
    """Each text as tokens, looked through before any is read."""
    if isinstance(texts, str):
        raise InputError(f"{caller} takes a list of texts; put the one text into a list")
    encoded = [lm.encode(text) for text in texts]
    for number, ids in enumerate(encoded):
        if not ids:
            raise InputError(f"text {number} is empty; a reference needs at least one token")
        check_length(lm, len(ids), f"text {number}")
    if not encoded:
        raise InputError("no text was given; a reference needs at least one")
    counted = [_Counted(ids, max(0, len(ids) - skip)) for ids in encoded]
    if not any(text.counted for text in counted):
        raise InputError(f"no text has more than {skip} tokens, and the first {skip} of each do not count")
    return counted


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
