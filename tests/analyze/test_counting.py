from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cotlens.analyze import counting
from cotlens.analyze.counting import count_activity
from cotlens.analyze.sets import index_sets
from cotlens.analyze.step_roles import ROLES

LAYERS, WIDTH, K, DRAWS = 3, 12, 4, 3


def _activations(rng: np.random.Generator) -> pl.DataFrame:
    rows = [
        {
            "variant": variant,
            "question_id": f"q{question}",
            "step": step,
            "layer": layer,
            "neuron": rng.permutation(WIDTH)[:K].tolist(),
            "coefficient": rng.normal(size=K).tolist(),
        }
        for variant in ("cot", "text_only")
        for question in range(5)
        for step in range(int(rng.integers(1, 6)))
        for layer in range(LAYERS)
    ]
    schema = {
        "step": pl.Int32, "layer": pl.Int32, "neuron": pl.List(pl.Int32), "coefficient": pl.List(pl.Float32)
    }  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=schema)


def _members(rng: np.random.Generator) -> pl.DataFrame:
    signed = [(layer, neuron, sign) for layer in range(LAYERS) for neuron in range(WIDTH) for sign in (1, -1)]
    sets = [("add", "concept", 0), ("equals", "concept", 0), *(("add", "random", draw) for draw in range(DRAWS))]
    rows = [
        (*one, *signed[place])
        for one in sets
        for place in sorted(rng.choice(len(signed), size=10, replace=False).tolist())
    ]
    schema = {
        "concept": pl.String, "set": pl.String, "draw": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.parametrize("at_once", [1, 60_000])
def test_counts_equal_those_of_a_plain_walk_through_the_rows(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_AT_ONCE", at_once)
    rng = np.random.default_rng(3)
    activations, members = _activations(rng), _members(rng)
    index = index_sets(members, members.select("layer", "neuron", value_norm=pl.lit(2.0)).unique())
    own = activations.filter(variant="cot")
    roles = own.filter(layer=0).select("variant", "question_id", "step")
    roles = roles.with_columns(
        pl.Series(name, rng.integers(0, len(ROLES), size=roles.height), dtype=pl.Int8) for name in ("predicted", "read")
    )
    parts = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    own.filter(pl.col("question_id") < "q2").write_parquet(parts[0])
    pl.concat([own.filter(pl.col("question_id") >= "q2"), activations.filter(variant="text_only")]).write_parquet(
        parts[1]
    )
    counts = count_activity(parts, "cot", index, roles, LAYERS)

    role_of = {(q, step): (p, r) for _, q, step, p, r in roles.iter_rows()}
    sets = {}
    for *key, layer, neuron, sign in members.iter_rows():
        sets.setdefault(tuple(key), set()).add((layer, neuron, sign))
    columns = [row[:3] for row in index.columns.iter_rows()]
    by_question, any_by_role = np.zeros_like(counts.by_question), np.zeros_like(counts.any_by_role)
    any_by_layer, any_by_step = np.zeros_like(counts.any_by_layer), np.zeros_like(counts.any_by_step)
    for (question, step), group in own.group_by("question_id", "step"):
        q = counts.questions.index(question)
        for s, column in enumerate(columns):
            active = [
                (layer, neuron, 1 if m > 0 else -1)
                for _, _, _, layer, neurons, coefficients in group.iter_rows()
                for neuron, m in zip(neurons, coefficients, strict=True)
                if (layer, neuron, 1 if m > 0 else -1) in sets[column]
            ]
            for kind in range(2):
                role = role_of[question, step][kind]
                by_question[kind, q, role, s] += len(active)
                any_by_role[kind, role, s] += bool(active)
            any_by_step[step, s] += bool(active)
            for layer in {layer for layer, _, _ in active}:
                any_by_layer[layer, role_of[question, step][0], s] += 1
    assert (counts.by_question == by_question).all()
    assert (counts.any_by_role == any_by_role).all()
    assert (counts.any_by_layer == any_by_layer).all()
    assert (counts.any_by_step == any_by_step).all()
    assert counts.steps.sum(axis=(1, 2)).tolist() == [roles.height] * 2
    assert counts.reached.sum() == roles.height
    assert counts.neurons[0].sum() == counts.neurons[1].sum() == counts.neurons_by_step.sum()
    assert counts.scores[0].sum() == pytest.approx(counts.scores_by_step.sum(), rel=1e-5)
