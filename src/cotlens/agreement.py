"""How far rankers agree on one text: do they choose the same neurons, and put them in the same order?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cotlens.capture.rankers import RANKERS, find_ranker
from cotlens.discover import top_neurons
from cotlens.errors import InputError
from cotlens.model.language_model import LanguageModel

__all__ = ["ranker_agreement"]

#: Shared neurons that a rank correlation of one step needs.
_FEWEST = 3


def ranker_agreement(
    lm: LanguageModel,
    token_ids: Sequence[int],
    prompt_length: int,
    top_k: int = 20,
    rankers: Iterable[str] = tuple(RANKERS),
) -> pl.DataFrame:
    """Agreement between rankers on the same tokens, for each pair of them and each layer, as means over the steps.

    Args:
        lm: the model.
        token_ids: prompt and completion.
        prompt_length: how many of them are the prompt.
        top_k: neurons per layer and step.
        rankers: two names or more; all when left out.

    Returns:
        Columns ``first``, ``second``, ``layer``; ``jaccard``, neurons in both top-K sets over neurons in either;
        ``shared``, how many are in both; ``spearman``, the correlation of their ranks among the shared ones, ties by
        index, over the steps with at least three, null if there is no such step; ``steps``, how many those are.

    Raises:
        InputError: as `top_neurons`, or fewer than two rankers.
    """
    names = list(dict.fromkeys(rankers))
    if len(names) < 2:
        raise InputError(f"agreement needs at least two rankers, got {names}")
    for name in names:
        find_ranker(name)
    chosen = {name: top_neurons(lm, token_ids, prompt_length, top_k, name).neuron for name in names}
    rows = [
        {"first": first, "second": second, "layer": layer, **_agree(chosen[first][:, layer], chosen[second][:, layer])}
        for first, second in combinations(names, 2)
        for layer in range(lm.n_layers)
    ]
    types = {"layer": pl.Int32, "jaccard": pl.Float64, "shared": pl.Float64, "spearman": pl.Float64, "steps": pl.Int32}
    return pl.DataFrame(rows, schema={"first": pl.String, "second": pl.String, **types})


def _agree(first: Int[np.ndarray, "T K"], second: Int[np.ndarray, "T K"]) -> dict[str, float | int | None]:
    same = first[:, :, None] == second[:, None, :]  # [T, K, K]
    shared = same.sum(axis=(1, 2))  # [T]
    enough = shared >= _FEWEST
    correlation = _spearman(same[enough])
    return {
        "jaccard": float((shared / (2 * first.shape[1] - shared)).mean()),
        "shared": float(shared.mean()),
        "spearman": float(correlation.mean()) if len(correlation) else None,
        "steps": int(enough.sum()),
    }


def _spearman(same: Bool[np.ndarray, "n K K"]) -> Float[np.ndarray, " n"]:
    """Rank correlation of the shared neurons; both lists are in order of rank, best first."""
    first_rank = same.any(axis=2).cumsum(axis=1)  # [n, K], the place among the shared ones
    second_rank = same.any(axis=1).cumsum(axis=1)
    distance = (first_rank[:, :, None] - second_rank[:, None, :]) * same
    shared = same.sum(axis=(1, 2))
    correlation: Float[np.ndarray, " n"] = 1 - 6 * (distance**2).sum(axis=(1, 2)) / (shared * (shared**2 - 1))
    return correlation
