"""Algorithm Two, first half: value vectors read as tokens, and the projection of a run's neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from cotlens.errors import InputError
from cotlens.model.language_model import LanguageModel
from cotlens.store import RunWriter
from cotlens.types import NeuronId, Progress, Projection

__all__ = ["project", "project_stage"]

#: Neurons per matrix product. Bounds the logits held at once to this many rows of the vocabulary.
_BLOCK = 512


@torch.inference_mode()
def project(
    lm: LanguageModel,
    neurons: Iterable[tuple[int, int]] | None = None,
    top_n: int = 20,
    norm: Literal["none", "gamma"] = "none",
    on_progress: Callable[[int], None] | None = None,
) -> Projection:
    """Project value vectors onto the vocabulary: ``W_U v``, the logits that a neuron adds directly.

    Logits are always fp32. A neuron promotes its largest logits when its coefficient is positive, and its smallest
    when it is negative. The source of the method is Geva et al. (2022), as used by Rai & Yao (2024).

    Args:
        lm: the model.
        neurons: pairs of layer and index, both 0-based; None for every neuron.
        top_n: tokens kept at each end, at most the size of the vocabulary.
        norm: ``none`` as published, or ``gamma`` to fold the gain of the final norm into ``W_U``.
        on_progress: called with the number of neurons just projected.

    Returns:
        One row per neuron, in the order given: token ids and logits ``[N, top_n]`` at both ends, best first, and
        the probabilities of the promoted tokens under the softmax over the whole vocabulary.

    Raises:
        InputError: a neuron is out of range, or ``top_n`` is.
    """
    wanted = _all_neurons(lm) if neurons is None else [NeuronId(*pair) for pair in neurons]
    for neuron in wanted:
        lm.check_neuron(neuron)
    unembedding = lm.unembedding.float()
    if norm == "gamma":
        unembedding = unembedding * lm.final_norm_gain
    elif norm != "none":
        raise InputError(f"norm is {norm!r}; give 'none' or 'gamma'")
    if not 1 <= top_n <= unembedding.shape[0]:
        raise InputError(f"top_n is {top_n}; give 1 to {unembedding.shape[0]}, the size of the vocabulary")

    blocks = []
    for start in range(0, len(wanted), _BLOCK):
        block = wanted[start : start + _BLOCK]
        blocks.append(_project_block(_gather(lm, block), unembedding, top_n))
        if on_progress is not None:
            on_progress(len(block))
    ids = np.array(wanted, dtype=np.int32).reshape(-1, 2)
    if not blocks:
        none = np.empty((0, top_n))
        return Projection(
            ids[:, 0], ids[:, 1], none.astype(np.int32), none.astype(np.float32), none.astype(np.float32),
            none.astype(np.int32), none.astype(np.float32), norm,
        )  # fmt: skip
    columns = [torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True)]
    promoted_ids, promoted_logits, promoted_probs, suppressed_ids, suppressed_logits = columns
    return Projection(
        layer=ids[:, 0],
        neuron=ids[:, 1],
        promoted_ids=promoted_ids.astype(np.int32),
        promoted_logits=promoted_logits,
        promoted_probs=promoted_probs,
        suppressed_ids=suppressed_ids.astype(np.int32),
        suppressed_logits=suppressed_logits,
        norm=norm,
    )


def _project_block(
    values: Float[Tensor, "n D"], unembedding: Float[Tensor, "V D"], top_n: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    logits = values @ unembedding.T  # [n, V]
    promoted = logits.topk(top_n, dim=1)
    suppressed = logits.topk(top_n, dim=1, largest=False)
    probs = (promoted.values - logits.logsumexp(dim=1, keepdim=True)).exp()
    return promoted.indices, promoted.values, probs, suppressed.indices, suppressed.values


def _gather(lm: LanguageModel, neurons: Sequence[NeuronId]) -> Float[Tensor, "n D"]:
    return torch.stack([lm.ffn[layer].value_vectors[index] for layer, index in neurons]).float()


def _all_neurons(lm: LanguageModel) -> list[NeuronId]:
    return [NeuronId(ffn.layer, index) for ffn in lm.ffn for index in range(ffn.width)]


def project_stage(run: RunWriter, lm: LanguageModel, progress: Progress) -> None:
    """Write ``neurons.parquet``: every discovered neuron with its hits and its tokens."""
    config = run.config.project
    hits = _count_hits(run)
    if config.neurons == "all":
        every = pl.DataFrame(_all_neurons(lm), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row")
        hits = every.join(hits, on=["layer", "neuron"], how="left").fill_null(0)
    hits = hits.sort("layer", "neuron")
    progress.begin("project", hits.height)
    found = project(lm, hits.select("layer", "neuron").rows(), config.top_n, config.norm, progress.advance)
    text = {int(i): lm.token_text(i) for i in np.unique([found.promoted_ids, found.suppressed_ids])}
    norms = [ffn.value_norms().cpu().numpy() for ffn in lm.ffn]
    columns: dict[str, Any] = {
        "value_norm": np.array([norms[la][n] for la, n in zip(found.layer, found.neuron, strict=True)], np.float32),
        "promoted": [[text[int(i)] for i in row] for row in found.promoted_ids],
        "suppressed": [[text[int(i)] for i in row] for row in found.suppressed_ids],
        "promoted_ids": _lists(found.promoted_ids),
        "promoted_logits": _lists(found.promoted_logits),
        "promoted_probs": _lists(found.promoted_probs),
        "suppressed_ids": _lists(found.suppressed_ids),
        "suppressed_logits": _lists(found.suppressed_logits),
        "norm": [found.norm] * len(found.layer),
    }
    run.add_frame("project", "neurons.parquet", hits.with_columns(pl.Series(n, v) for n, v in columns.items()))


def _count_hits(run: RunWriter) -> pl.DataFrame:
    """How many (variant, question, step) have a neuron among their top-K, in all and by sign; part by part."""
    counts = [
        pl.scan_parquet(part)
        .select("layer", "neuron", "coefficient")
        .explode("neuron", "coefficient")
        .group_by("layer", "neuron")
        .agg(hits_positive=(pl.col("coefficient") > 0).sum(), hits_negative=(pl.col("coefficient") < 0).sum())
        .collect()
        for part in run.part_paths("discover", "activations/")
    ]
    return (
        pl.concat(counts)
        .group_by("layer", "neuron")
        .agg(pl.col("hits_positive", "hits_negative").sum())
        .select("layer", "neuron", (pl.col("hits_positive") + pl.col("hits_negative")).alias("hits"),
                "hits_positive", "hits_negative")
    )  # fmt: skip


def _lists(values: np.ndarray) -> pl.Series:
    return pl.Series(values).arr.to_list() if len(values) else pl.Series([], dtype=pl.List(pl.Float32))
