"""A small set of activations, counted by hand: two questions of two steps and one, two layers, top-2."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cotlens.analyze.counting import Counts, count_activity
from cotlens.analyze.sets import SetIndex, index_sets

KEYS = {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8}

# "add" is L0N1+ and L1N5-.
ACTIVATIONS = pl.DataFrame(
    {
        "variant": ["cot"] * 6,
        "question_id": ["a"] * 4 + ["b"] * 2,
        "step": [0, 0, 1, 1, 0, 0],
        "layer": [0, 1, 0, 1, 0, 1],
        "neuron": [[1, 2], [5, 6], [1, 3], [6, 7], [2, 3], [5, 7]],
        "coefficient": [[0.5, 1.0], [-2.0, 1.0], [-0.5, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 2.0]],
    },
    schema_overrides={
        "layer": pl.Int32,
        "neuron": pl.List(pl.Int32),
        "step": pl.Int32,
        "coefficient": pl.List(pl.Float32),
    },
)

#: Places in `cotlens.analyze.step_roles.ROLES`: operand is 0, operator 1.
ROLES = pl.DataFrame(
    {
        "variant": ["cot"] * 3,
        "question_id": ["a", "a", "b"],
        "step": [0, 1, 0],
        "predicted": [0, 1, 0],
        "read": [8, 0, 8],
    },
    schema_overrides={"step": pl.Int32, "predicted": pl.Int8, "read": pl.Int8},
)

Count = Callable[..., Counts]


@pytest.fixture
def index() -> SetIndex:
    members = pl.DataFrame(
        {
            "concept": ["add"] * 6,
            "set": ["concept"] * 2 + ["random"] * 4,
            "draw": [0, 0, 0, 0, 1, 1],
            "layer": [0, 1, 0, 1, 0, 1],
            "neuron": [1, 5, 2, 6, 3, 7],
            "sign": [1, -1, 1, 1, 1, 1],
        },
        schema_overrides=KEYS | {"draw": pl.Int32},
    )
    norms = members.select("layer", "neuron", value_norm=(pl.col("neuron") * 10.0))
    return index_sets(members, norms)


@pytest.fixture
def count(tmp_path: Path) -> Count:
    """Counts activations, written to a file first."""

    def run(index: SetIndex, activations: pl.DataFrame = ACTIVATIONS, roles: pl.DataFrame | None = ROLES) -> Counts:
        part = tmp_path / "part.parquet"
        activations.write_parquet(part)
        return count_activity([part], "cot", index, roles, n_layers=2)

    return run
