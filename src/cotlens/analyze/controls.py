"""Random neuron sets that match a given one, layer by layer and sign by sign; what activity stands beside.

The sets that interventions stand beside match in more (`cotlens.analyze.matching`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

__all__ = ["draw_matched", "signed_pool"]

_KEYS = ["layer", "neuron", "sign"]


def signed_pool(neurons: pl.DataFrame, excluded: pl.DataFrame) -> pl.DataFrame:
    """Every (layer, neuron, sign) that was discovered at least once and whose neuron is not in ``excluded``.

    Controls come from the discovered neurons, not from all: a neuron that is never active would make an easy control.
    """
    signs = [
        neurons.filter(pl.col(column) > 0).select("layer", "neuron", pl.lit(sign, pl.Int8).alias("sign"))
        for column, sign in (("hits_positive", 1), ("hits_negative", -1))
    ]
    return (
        pl.concat(signs)
        .join(excluded.select("layer", "neuron").unique(), on=["layer", "neuron"], how="anti")
        .sort(_KEYS)
    )


def draw_matched(pool: pl.DataFrame, target: pl.DataFrame, seed: int | list[int]) -> pl.DataFrame:
    """Draw from ``pool`` as many entries per layer and sign as ``target`` has, without replacement.

    Where a layer's pool is too small, all of it is drawn.
    """
    rng = np.random.default_rng(seed)
    by = ["layer", "sign"]
    wanted = target.select(_KEYS).unique().group_by(by).len().sort(by)
    groups = pool.select(_KEYS).unique().sort(_KEYS).partition_by(by, as_dict=True)
    drawn = []
    for *key, count in wanted.iter_rows():
        group = groups.get(tuple(key), pool.clear())
        chosen = rng.choice(group.height, size=min(count, group.height), replace=False)
        drawn.append(group[np.sort(chosen)])
    return pl.concat(drawn) if drawn else pool.clear()
