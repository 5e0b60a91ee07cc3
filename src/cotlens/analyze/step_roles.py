"""The role of each step's token, as numbers: that of the token generated, and that of the token it was read from."""

from __future__ import annotations

from typing import get_args

import polars as pl

from cotlens.data.roles import Role
from cotlens.errors import InputError
from cotlens.store import Run

__all__ = ["ROLES", "TOKENS", "UNKNOWN", "stored_roles"]

#: In the order in which tables show them.
ROLES: tuple[str, ...] = get_args(Role)

#: Stands for the role in a run that stores no tokens.
UNKNOWN = "unknown"

#: Whose role it is: of the token that the step generates (``predicted``), or of the last one before it (``read``).
TOKENS = ("predicted", "read")


def stored_roles(run: Run, variant: str | None = None) -> pl.DataFrame | None:
    """variant, question_id, step, ``predicted`` and ``read``: places in `ROLES`; of all variants unless one is named.
    None for a run without tokens.

    The activations of a step are those at the position of the token that is ``read``.
    """
    try:
        tokens = run.scan_tokens()
    except InputError:
        return None
    if variant is not None:
        tokens = tokens.filter(pl.col("variant") == variant)
    place = pl.col("role").replace_strict({role: n for n, role in enumerate(ROLES)}, return_dtype=pl.Int8)
    own = (
        tokens.filter(pl.col("question_id").is_not_null())
        .select("variant", "question_id", "position", "part", predicted=place)
        .sort("variant", "question_id", "position")
        .with_columns(read=pl.col("predicted").shift(1).over("variant", "question_id"))
        .filter(pl.col("part") == "completion")
    )
    # The token before a completion is one that all prompts share where there is a single question.
    shared = (
        tokens.filter(pl.col("question_id").is_null())
        .select("variant", "position", last=place)
        .sort("position")
        .group_by("variant")
        .agg(pl.col("last").last())
    )
    return (
        own.join(shared, on="variant", how="left")
        .select(
            "variant",
            "question_id",
            "predicted",
            step=(pl.col("position") - pl.col("position").min().over("variant", "question_id")).cast(pl.Int32),
            read=pl.col("read").fill_null(pl.col("last")),
        )
        .collect()
    )
