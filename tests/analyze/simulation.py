"""Counts with known frequencies, made without a model: concepts of 5 neurons beside random sets of as many."""

import numpy as np
import polars as pl

from cotlens.analyze.counting import Counts
from cotlens.analyze.sets import SetIndex, index_sets
from cotlens.analyze.step_roles import ROLES, TOKENS

SIZE = 5


def make_index(concepts: tuple[str, ...], draws: int) -> SetIndex:
    sets = [
        (concept, kind, draw)
        for concept in concepts
        for kind, n in (("concept", 1), ("random", draws))
        for draw in range(n)
    ]
    rows = [(*one, 0, SIZE * place + member, 1) for place, one in enumerate(sets) for member in range(SIZE)]
    schema = {
        "concept": pl.String, "set": pl.String, "draw": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8
    }  # fmt: skip
    members = pl.DataFrame(rows, schema=schema, orient="row")
    return index_sets(members, members.select("layer", "neuron", value_norm=pl.lit(1.0)))


def make_counts(index: SetIndex, steps: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> Counts:
    """One variant whose tokens are all ``text``.

    Args:
        index: the sets.
        steps: ``[Q]``, the length of each completion.
        shares: ``[Q, S]``, how likely a neuron of each column is active at a step of the question.
        rng: of the activity.
    """
    questions, columns = shares.shape
    text = ROLES.index("text")
    by_question = np.zeros((len(TOKENS), questions, len(ROLES), columns), dtype=np.int64)
    by_question[:, :, text] = rng.binomial(steps[:, None] * SIZE, np.clip(shares, 0, 1))
    recorded = np.zeros((len(TOKENS), questions, len(ROLES)), dtype=np.int64)
    recorded[:, :, text] = steps
    nothing = np.zeros(0)
    return Counts(
        questions=[f"q{number:04d}" for number in range(questions)],
        steps=recorded,
        by_question=by_question,
        any_by_role=nothing, any_by_layer=nothing, any_by_step=nothing, neurons=nothing, scores=nothing,
        neurons_by_step=nothing, scores_by_step=nothing, reached=nothing,
    )  # fmt: skip
