"""`project`: what neurons promote and suppress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cotlens.errors import InputError, NonFiniteError
from cotlens.model.language_model import LanguageModel
from cotlens.project.ends import BlockProjection, project_block
from cotlens.types import NeuronId, Projection

__all__ = ["all_neurons", "check_projection", "gather_value_vectors", "project"]

#: Most neurons in one matrix product.
_NEURONS = 512
#: Most logits held at once: 128 MiB.
_LOGITS = 2**25


@torch.inference_mode()
def project(
    lm: LanguageModel,
    neurons: Iterable[tuple[int, int]] | None = None,
    top_n: int = 20,
    norm: Literal["none", "gamma"] = "none",
    on_progress: Callable[[int], None] | None = None,
) -> Projection:
    """Project value vectors onto the vocabulary: ``W_U v``, the logits that a neuron adds directly.

    Logits are always fp32; weights of half precision are upcast piece by piece. A neuron promotes its largest logits
    when its coefficient is positive, and its smallest when it is negative. The source of the method is Geva et al.
    (2022), as used by Rai & Yao (2024).

    Args:
        lm: the model.
        neurons: pairs of layer and index, both 0-based; None for every neuron.
        top_n: tokens kept at each end, at most the size of the vocabulary.
        norm: ``none`` as published, or ``gamma`` to fold the gain of the final norm into ``W_U``.
        on_progress: called with the number of neurons just projected.

    Returns:
        One row per neuron, in the order given: token ids and logits ``[N, top_n]`` at both ends, best first, equal
        logits by id, and the probabilities of the promoted tokens under the softmax over the whole vocabulary.

    Raises:
        InputError: a neuron is out of range, ``top_n`` is, or ``norm`` is not known.
        NonFiniteError: weights are NaN or infinite; the message names the layer.
    """
    wanted = all_neurons(lm) if neurons is None else [NeuronId(*pair) for pair in neurons]
    for neuron in wanted:
        lm.check_neuron(neuron)
    check_projection(lm, top_n, norm)
    unembedding = lm.unembedding
    size = min(_NEURONS, max(1, _LOGITS // len(unembedding)))
    room = torch.empty(min(size, len(wanted)) * len(unembedding), device=unembedding.device)

    blocks = []
    for start in range(0, max(1, len(wanted)), size):
        block = wanted[start : start + size]
        found = project_block(gather_value_vectors(lm, block, norm), unembedding, top_n, room)
        _check_finite(lm, block, found)
        probs = (found.promoted.logits - found.log_sum[:, None]).exp()
        blocks.append([part.cpu().numpy() for part in (*found.promoted, probs, *found.suppressed)])
        if on_progress is not None:
            on_progress(len(block))
    ids = np.array(wanted, dtype=np.int32).reshape(-1, 2)
    promoted_ids, promoted_logits, promoted_probs, suppressed_ids, suppressed_logits = (
        np.concatenate(parts) for parts in zip(*blocks, strict=True)
    )
    seen = Projection(
        layer=ids[:, 0],
        neuron=ids[:, 1],
        promoted_ids=promoted_ids,
        promoted_logits=promoted_logits,
        promoted_probs=promoted_probs,
        suppressed_ids=suppressed_ids,
        suppressed_logits=suppressed_logits,
        norm=norm,
    )
    return replace(seen, texts={i: lm.token_text(i) for i in seen.shown_ids()})


def all_neurons(lm: LanguageModel) -> list[NeuronId]:
    """Every neuron of the model, layer by layer."""
    return [NeuronId(ffn.layer, index) for ffn in lm.ffn for index in range(ffn.width)]


def check_projection(lm: LanguageModel, top_n: int, norm: str) -> None:
    """Raise an `InputError` if the vocabulary has no ``top_n`` tokens, or ``norm`` is not known."""
    if norm not in ("none", "gamma"):
        raise InputError(f"norm is {norm!r}; give 'none' or 'gamma'")
    vocabulary = len(lm.unembedding)
    if not 1 <= top_n <= vocabulary:
        raise InputError(f"top_n is {top_n}; give 1 to {vocabulary}, the size of the vocabulary")


def gather_value_vectors(lm: LanguageModel, neurons: Sequence[NeuronId], norm: str) -> Float[Tensor, "n D"]:
    """The value vectors of ``neurons`` in fp32, beside the unembedding; under ``gamma`` times the final norm's gain.

    Raises:
        NonFiniteError: a value vector is not finite; the message names the layer.
    """
    ids = np.array(neurons, dtype=np.int64).reshape(-1, 2)
    values = torch.empty(len(ids), lm.d_model, device=lm.unembedding.device)
    for layer in np.unique(ids[:, 0]):
        here = np.flatnonzero(ids[:, 0] == layer)
        vectors = lm.ffn[layer].value_vectors
        own = vectors[torch.from_numpy(ids[here, 1]).to(vectors.device)].float()
        if not bool(own.isfinite().all()):
            raise NonFiniteError(f"layer {layer}: {lm.name}'s value vectors are not finite (NaN or infinity)")
        values[torch.from_numpy(here).to(values.device)] = own.to(values.device)
    # W_U diag(g) v = W_U (g * v)
    return values * lm.final_norm_gain.to(values.device) if norm == "gamma" else values


def _check_finite(lm: LanguageModel, neurons: Sequence[NeuronId], found: BlockProjection) -> None:
    # NaN and infinity stand first at one of the ends, so looking at the first is looking at all.
    finite = found.promoted.logits[:, 0].isfinite() & found.suppressed.logits[:, 0].isfinite()
    if not bool(finite.all()):
        layer = neurons[int(finite.int().argmin())].layer
        raise NonFiniteError(
            f"layer {layer}: the logits of {lm.name}'s value vectors are not finite (NaN or infinity), though the "
            "vectors are; look for it in the unembedding or the final norm"
        )
