"""Neurons whose value vectors point the same way: they write the same, however differently they are switched on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cotlens.model.language_model import LanguageModel
from cotlens.project.ends import project_block
from cotlens.project.projection import gather_value_vectors
from cotlens.project.stage import ROWS_TOGETHER
from cotlens.store import RunWriter
from cotlens.types import NeuronId, Progress

__all__ = ["find_similar", "most_active", "similar_stage"]

#: Neurons in one matrix product.
_NEURONS = 512
#: Most cosines held at once: 128 MiB.
_COSINES = 2**25
#: Most neurons that each one is compared with: about as many as a vocabulary has tokens, so that comparing takes no
#: longer than projecting.
_COMPARED = 50_000


def similar_stage(run: RunWriter, lm: LanguageModel, progress: Progress) -> None:
    """Write ``similar.parquet``: for every projected neuron those that are most similar."""
    projected = pl.read_parquet(run.part_paths("project", "neurons.parquet"), columns=["layer", "neuron", "hits"])
    neurons = [NeuronId(*pair) for pair in projected.select("layer", "neuron").rows()]
    progress.begin("similar", len(neurons))
    among = most_active(projected["hits"].to_numpy().astype(np.int64))
    found = find_similar(lm, neurons, among, run.config.project.similar, progress.advance)
    run.add_frame("similar", "similar.parquet", found, ROWS_TOGETHER)


@torch.inference_mode()
def find_similar(
    lm: LanguageModel,
    neurons: Sequence[NeuronId],
    among: Int64[np.ndarray, " M"],
    count: int,
    on_progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """For each neuron the ``count`` others with the largest cosine between value vectors, in fp32.

    Args:
        lm: the model.
        neurons: by layer and index.
        among: the places in ``neurons`` of those that each one is compared with, rising.
        count: how many are kept; fewer where there are no more.
        on_progress: called with the number of neurons just compared.

    Returns:
        layer, neuron, similar_layer[count], similar_neuron[count], cosine[count]: the largest cosine first, equal ones
        by layer and index. A vector of length zero has a cosine of 0 with all.

    Raises:
        NonFiniteError: weights are NaN or infinite; the message names the layer.
    """
    ids = np.array(neurons, dtype=np.int32).reshape(-1, 2)
    compared = torch.cat([
        _directions(lm, [neurons[place] for place in part]) for part in np.split(among, range(4096, len(among), 4096))
    ])  # fmt: skip
    size = max(1, min(_NEURONS, len(neurons), _COSINES // max(1, len(among))))
    room = torch.empty(size * len(compared), device=compared.device)
    best, cosines = [np.zeros((0, 0), np.int64)], [np.zeros((0, 0), np.float32)]
    for start in range(0, len(neurons), size):
        block = neurons[start : start + size]
        found = project_block(_directions(lm, block), compared, min(count + 1, len(compared)), room).promoted
        place, cosine = among[found.ids.cpu().numpy()], found.logits.clamp(-1, 1).cpu().numpy()
        others = _without(place, np.arange(start, start + len(block)))
        best.append(np.take_along_axis(place, others, axis=1)[:, :count])
        cosines.append(np.take_along_axis(cosine, others, axis=1)[:, :count])
        if on_progress is not None:
            on_progress(len(block))
    similar = ids[np.concatenate(best[1:] or best)]
    return pl.DataFrame(
        [
            pl.Series("layer", ids[:, 0]),
            pl.Series("neuron", ids[:, 1]),
            _lists("similar_layer", similar[:, :, 0]),
            _lists("similar_neuron", similar[:, :, 1]),
            _lists("cosine", np.concatenate(cosines[1:] or cosines)),
        ]
    )


def most_active(hits: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " M"]:
    """The places, rising, of the neurons that each one is compared with: all, or those with most hits where that would
    take long."""
    return np.sort(np.argsort(-hits, kind="stable")[:_COMPARED])


def _directions(lm: LanguageModel, neurons: Sequence[NeuronId]) -> Float[Tensor, "n D"]:
    vectors = gather_value_vectors(lm, neurons, "none")
    return torch.nn.functional.normalize(vectors, dim=1)


def _without(place: Int64[np.ndarray, "n c"], own: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n c-1"]:
    """The columns of each row without the neuron itself, or without the last where it is not there."""
    is_own = place == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    return np.nonzero(~is_own)[1].reshape(len(place), -1)


def _lists(name: str, values: np.ndarray) -> pl.Series:
    return pl.Series(name, values.ravel()).reshape(values.shape).arr.to_list()
