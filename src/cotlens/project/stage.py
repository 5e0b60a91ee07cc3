"""The projection of a run's neurons, and the table that it is stored as."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from jaxtyping import Float32

from cotlens.model.language_model import LanguageModel
from cotlens.project.projection import all_neurons, project
from cotlens.store import RunWriter
from cotlens.types import Progress, Projection

__all__ = ["ROWS_TOGETHER", "project_stage", "projection_columns", "value_norms"]

#: Neurons in a row group of a file: the explorer reads one of them at a time.
ROWS_TOGETHER = 2048


def project_stage(run: RunWriter, lm: LanguageModel, progress: Progress) -> None:
    """Write ``neurons.parquet``: every discovered neuron with its hits and its tokens."""
    config = run.config.project
    hits = _count_hits(run)
    if config.neurons == "all":
        every = pl.DataFrame(all_neurons(lm), schema={"layer": pl.Int32, "neuron": pl.Int32}, orient="row")
        hits = every.join(hits, on=["layer", "neuron"], how="left").fill_null(0)
    hits = hits.sort("layer", "neuron")
    progress.begin("project", hits.height)
    found = project(lm, hits.select("layer", "neuron").rows(), config.top_n, config.norm, progress.advance)
    neurons = hits.with_columns(projection_columns(lm, found, lm.token_text))
    run.add_frame("project", "neurons.parquet", neurons, ROWS_TOGETHER)


def projection_columns(lm: LanguageModel, found: Projection, token_text: Callable[[int], str]) -> list[pl.Series]:
    """What is stored of each neuron: the length of its value vector, and both ends with texts, ids and logits.

    Lone surrogates, which no file of text can hold, are written as escapes; the ids are exact.
    """
    ids = np.unique(np.concatenate([found.promoted_ids, found.suppressed_ids]))
    texts = {i: token_text(i).encode("utf-8", "backslashreplace").decode() for i in ids.tolist()}
    return [
        pl.Series("value_norm", value_norms(lm, found.layer, found.neuron)),
        _texts("promoted", found.promoted_ids, texts),
        _texts("suppressed", found.suppressed_ids, texts),
        _lists("promoted_ids", found.promoted_ids),
        _lists("promoted_logits", found.promoted_logits),
        _lists("promoted_probs", found.promoted_probs),
        _lists("suppressed_ids", found.suppressed_ids),
        _lists("suppressed_logits", found.suppressed_logits),
        pl.Series("norm", [found.norm] * len(found.layer), dtype=pl.String),
    ]


def value_norms(lm: LanguageModel, layer: np.ndarray, neuron: np.ndarray) -> Float32[np.ndarray, " N"]:
    """The length of each neuron's value vector."""
    norms = np.empty(len(layer), dtype=np.float32)
    for number in np.unique(layer):
        here = layer == number
        norms[here] = lm.ffn[number].value_norms().cpu().numpy()[neuron[here]]
    return norms


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


def _texts(name: str, ids: np.ndarray, texts: dict[int, str]) -> pl.Series:
    return pl.Series(name, [[texts[i] for i in row] for row in ids.tolist()], dtype=pl.List(pl.String))


def _lists(name: str, values: np.ndarray) -> pl.Series:
    return pl.Series(name, values.ravel()).reshape(values.shape).arr.to_list()
