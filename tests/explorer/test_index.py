"""The index against plain counting over the same rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from tests.explorer.activity_run import LAYERS, VARIANTS, WIDTH

from cotlens.analyze.step_roles import ROLES, TOKENS, stored_roles
from cotlens.errors import InputError
from cotlens.explorer import ActivityIndex
from cotlens.store import Run, RunWriter

MakeRun = Callable[..., Run]


def entries(run: Run) -> pl.DataFrame:
    """One row per active neuron of a step and layer, in the order of the run."""
    lists = ["neuron", "coefficient", "score"]
    return (
        run.activations()
        .with_columns(rank=pl.int_ranges(pl.col("neuron").list.len()))
        .explode(*lists, "rank")
        .filter(pl.col("coefficient") != 0)
        .with_columns(positive=pl.col("coefficient") > 0)
    )


def by_neuron(run: Run) -> dict[tuple[int, int], pl.DataFrame]:
    """The entries of every neuron of the model."""
    every = entries(run)
    found = every.partition_by("layer", "neuron", as_dict=True, maintain_order=True)
    return {(n, i): found.get((n, i), every.clear()) for n in range(LAYERS) for i in range(WIDTH)}


def signs(frame: pl.DataFrame) -> tuple[int, int]:
    positive = int(frame["positive"].sum())
    return positive, frame.height - positive


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run()


def test_hits_by_sign_variant_and_step(run: Run) -> None:
    index = ActivityIndex.open(run)
    recorded = run.activations().filter(layer=0)
    for neuron, own in by_neuron(run).items():
        found = index.summary(*neuron)
        assert (found.positive, found.negative, found.hits) == (*signs(own), own.height)
        assert found.variants["variant"].to_list() == list(VARIANTS)
        for variant, steps, *hits in found.variants.rows():
            assert steps == recorded.filter(variant=variant).height
            assert tuple(hits) == signs(own.filter(variant=variant))
        for first, last, steps, *hits in found.steps.rows():
            span = pl.col("step").is_between(first, last)
            assert steps == recorded.filter(span).height
            assert tuple(hits) == signs(own.filter(span))
        assert sum(found.steps.select("positive", "negative").sum().row(0)) == own.height
    assert index.summary(0, 0).hits == 0


def test_hits_by_role(run: Run) -> None:
    known = stored_roles(run)
    assert known is not None
    index = ActivityIndex.open(run)
    for neuron, entries_of in list(by_neuron(run).items())[::3]:
        own, found = entries_of.join(known, on=["variant", "question_id", "step"]), index.summary(*neuron).roles
        assert found.height == len(TOKENS) * len(ROLES)
        for token, role, steps, *hits in found.rows():
            place = ROLES.index(role)
            assert steps == known.filter(pl.col(token) == place).height
            assert tuple(hits) == signs(own.filter(pl.col(token) == place))


def test_a_run_without_tokens_has_no_roles(make_run: MakeRun) -> None:
    found = ActivityIndex.open(make_run(tokens=False)).summary(0, 1)
    assert found.roles.is_empty()
    assert found.roles.columns == ["token", "role", "steps", "positive", "negative"]
    assert found.hits > 0


def test_the_histogram_has_every_coefficient_once(run: Run) -> None:
    index = ActivityIndex.open(run)
    for neuron, own in by_neuron(run).items():
        m, found = own["coefficient"].to_numpy(), index.summary(*neuron)
        # An edge belongs to the bin that is farther from zero.
        place = np.where(m > 0, *(np.searchsorted(found.edges, m, side) - 1 for side in ("right", "left")))
        assert found.counts.tolist() == np.bincount(place, minlength=len(found.counts)).tolist()
        assert len(set(np.diff(found.edges))) == 1
        assert found.edges[0] == -found.edges[-1]
        if len(m):
            assert found.edges[-1] / 2 <= np.abs(m).max() < found.edges[-1]


@pytest.mark.parametrize("sign", [None, 1, -1])
def test_the_strongest_contexts(run: Run, sign: int | None) -> None:
    index = ActivityIndex.open(run)
    columns = ["variant", "question_id", "step", "coefficient", "score", "rank"]
    for neuron, own in by_neuron(run).items():
        wanted = own if sign is None else own.filter(positive=sign > 0)
        best = wanted.sort("score", descending=True, maintain_order=True).head(20)
        found = index.contexts(*neuron, sign=sign)
        assert [tuple(getattr(one, name) for name in columns) for one in found] == best.select(columns).rows()
        assert index.contexts(*neuron, limit=3, sign=sign) == found[:3]


def test_the_steps_of_a_completion(run: Run) -> None:
    every, index = run.activations(), ActivityIndex.open(run)
    assert index.completions.height == every.select("variant", "question_id").n_unique()
    for variant, question, steps in index.completions.rows():
        own = every.filter(variant=variant, question_id=question).drop("variant", "question_id")
        found = index.steps(variant, question)
        assert found.rows() == own.rows()
        assert found.columns == own.columns
        assert steps == own["step"].n_unique()


def test_the_lens_of_a_completion(run: Run) -> None:
    assert ActivityIndex.open(run).lens("cot", "q5") is None
    keys = ["variant", "question_id", "step", "layer"]
    for part in run.part_paths("discover", "activations/"):
        rows = pl.read_parquet(part, columns=keys)
        tokens = pl.Series("token_ids", [[n, n + 1] for n in range(rows.height)], dtype=pl.List(pl.Int32))
        shares = pl.Series("probabilities", [[0.5, 0.25]] * rows.height, dtype=pl.List(pl.Float32))
        RunWriter(run.path, run.manifest).add_frame(
            "discover", f"lens/{part.name}", rows.with_columns(tokens, shares), 7
        )
    found = ActivityIndex.open(run).lens("cot", "q5")
    assert found is not None
    assert found.rows() == run.lens().filter(variant="cot", question_id="q5").drop("variant", "question_id").rows()


def test_neurons_that_two_variants_share(run: Run) -> None:
    index = ActivityIndex.open(run)
    hits = entries(run).group_by("variant", "layer", "neuron").len()
    a, b = ({row[:2]: row[2] for row in hits.filter(variant=v).drop("variant").rows()} for v in VARIANTS)
    found = index.shared(*VARIANTS)
    assert found.neurons.rows() == [(*key, a.get(key, 0), b.get(key, 0)) for key in sorted(a.keys() | b.keys())]
    assert (found.shared, found.only_a, found.only_b) == (
        len(a.keys() & b.keys()), len(a.keys() - b.keys()), len(b.keys() - a.keys())
    )  # fmt: skip
    recorded = run.activations().filter(layer=0)
    assert [found.steps_a, found.steps_b] == [recorded.filter(variant=v).height for v in VARIANTS]


def test_neurons_that_two_runs_share(make_run: MakeRun) -> None:
    one, other = (ActivityIndex.open(make_run(name, seed=seed)) for name, seed in (("a", 1), ("b", 2)))
    found = one.shared("cot", "cot", other)
    assert found.neurons["hits_a"].to_list() != found.neurons["hits_b"].to_list()
    assert found.steps_b == other.shared("cot", "cot").steps_a


def test_an_index_is_made_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ActivityIndex.open(run).summary(1, 2)
    monkeypatch.setattr("cotlens.explorer.index.build_index", None)
    after = ActivityIndex.open(run).summary(1, 2)
    assert after.counts.tolist() == before.counts.tolist()
    assert after.variants.equals(before.variants)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda index: index.summary(LAYERS, 0), r"L3N0: no such neuron.*layers 0 to 2 and neurons 0 to 29"),
        (lambda index: index.contexts(0, WIDTH), r"L0N30: no such neuron"),
        (lambda index: index.contexts(0, 1, sign=2), r"sign is 2"),
        (lambda index: index.steps("cto", "q0"), r"'cto' has no activations; did you mean 'cot'"),
        (lambda index: index.steps("cot", "q99"), r"'q99' has no activations under variant 'cot'"),
    ],
)
def test_questions_that_have_no_answer(run: Run, ask: Callable[[ActivityIndex], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(ActivityIndex.open(run))
