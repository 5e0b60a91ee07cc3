import polars as pl
import pytest

from cotlens.analyze.frequencies import NeuronSets, active_steps, frequencies, frequencies_by, make_sets
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=200, control_draws=2)

# Two questions of 2 and 1 steps, two layers, top-2. "add" is L0N1+ and L1N5-.
ACTIVATIONS = pl.DataFrame(
    {
        "variant": ["cot"] * 6,
        "question_id": ["a"] * 4 + ["b"] * 2,
        "step": [0, 0, 1, 1, 0, 0],
        "layer": [0, 1, 0, 1, 0, 1],
        "neuron": [[1, 2], [5, 6], [1, 3], [6, 7], [2, 3], [5, 7]],
        "coefficient": [[0.5, 1.0], [-2.0, 1.0], [-0.5, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 2.0]],
    },
    schema_overrides={"layer": pl.Int32, "neuron": pl.List(pl.Int32), "step": pl.Int32},
)
STEPS = pl.DataFrame({"variant": ["cot", "cot"], "question_id": ["a", "b"], "steps": [2, 1]})
KEYS = {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8}


def sets() -> NeuronSets:
    members = pl.DataFrame(
        {
            "concept": ["add"] * 2 + ["add"] * 4,
            "set": ["concept"] * 2 + ["random"] * 4,
            "draw": [0, 0, 0, 0, 1, 1],
            "layer": [0, 1, 0, 1, 0, 1],
            "neuron": [1, 5, 2, 6, 3, 7],
            "sign": [1, -1, 1, 1, 1, 1],
        },
        schema_overrides=KEYS | {"draw": pl.Int32},
    )
    return NeuronSets(members)


def active() -> pl.DataFrame:
    return active_steps(ACTIVATIONS.lazy(), sets())


def test_a_neuron_counts_only_with_its_sign() -> None:
    rows = active().filter(layer=0, neuron=1).rows()
    assert rows == [("cot", "a", 0, 0, 1, 1)], "at step 1 it is active with the other sign"


def test_frequencies_are_those_counted_by_hand() -> None:
    table = frequencies(active(), sets(), STEPS, CONFIG, seed=0)
    own = table.row(by_predicate=pl.col("set") == "concept", named=True)
    # L0N1+ at a0; L1N5- at a0 and b0: 3 of 3 steps x 2 neurons.
    assert own["frequency"] == pytest.approx(3 / 6)
    assert own["low"] <= own["frequency"] <= own["high"]
    random = table.row(by_predicate=pl.col("set") == "random", named=True)
    # Draw 0: L0N2+ at a0, b0; L1N6+ at a0, a1 = 4 of 6. Draw 1: L0N3+ at a1; L1N7+ at a1, b0 = 3 of 6.
    assert random["frequency"] == pytest.approx((4 / 6 + 3 / 6) / 2)
    assert (random["neurons"], random["draws"], random["questions"]) == (2, 2, 2)


def test_frequencies_by_layer_are_those_counted_by_hand() -> None:
    table = frequencies_by("layer", active(), sets(), pl.DataFrame({"variant": ["cot"], "steps": [3]}))
    found = {(row["set"], row["layer"]): row["frequency"] for row in table.iter_rows(named=True)}
    assert found["concept", 0] == pytest.approx(1 / 3)
    assert found["concept", 1] == pytest.approx(2 / 3)
    assert found["random", 0] == pytest.approx((2 + 1) / (3 * 2))


def test_frequencies_by_step_are_those_counted_by_hand() -> None:
    per_step = pl.DataFrame(
        {"variant": ["cot"] * 2, "step": [0, 1], "steps": [2, 1]}, schema_overrides={"step": pl.Int32}
    )
    table = frequencies_by("step", active(), sets(), per_step).filter(set="concept")
    assert table["frequency"].to_list() == pytest.approx([3 / 4, 0 / 2])


def test_a_concept_that_is_never_active_has_frequency_zero() -> None:
    quiet = NeuronSets(sets().members.filter(set="concept").with_columns(neuron=pl.lit(40, pl.Int32)))
    table = frequencies(active_steps(ACTIVATIONS.lazy(), quiet), quiet, STEPS, CONFIG, seed=0)
    assert table["frequency"].to_list() == [0.0]


def test_sets_are_every_concept_all_together_and_matched_random_ones() -> None:
    concepts = pl.DataFrame(
        {"layer": [0, 1, 1], "neuron": [1, 5, 5], "sign": [1, -1, -1], "concept": ["add", "add", "equals"]},
        schema=KEYS | {"concept": pl.String},
    )
    neurons = pl.DataFrame(
        {"layer": [0] * 9 + [1] * 9, "neuron": [*range(9)] * 2, "hits_positive": [1] * 18, "hits_negative": [1] * 18},
        schema_overrides={"layer": pl.Int32, "neuron": pl.Int32},
    )
    members = make_sets(concepts, neurons, draws=3, seed=0).members
    sizes = {key: group.height for key, group in members.partition_by("concept", "set", as_dict=True).items()}
    assert sizes == {
        ("add", "concept"): 2,
        ("add", "random"): 6,
        ("equals", "concept"): 1,
        ("equals", "random"): 3,
        ("all", "concept"): 2,
        ("all", "random"): 6,
    }
    labelled = set(concepts.select("layer", "neuron").rows())
    assert not labelled & set(members.filter(set="random").select("layer", "neuron").rows())


def test_no_reasoning_neurons_give_empty_tables() -> None:
    empty = make_sets(
        pl.DataFrame(schema=KEYS | {"concept": pl.String}),
        pl.DataFrame(
            schema={"layer": pl.Int32, "neuron": pl.Int32, "hits_positive": pl.UInt32, "hits_negative": pl.UInt32}
        ),
        draws=3,
        seed=0,
    )
    found = active_steps(ACTIVATIONS.lazy(), empty)
    assert frequencies(found, empty, STEPS, CONFIG, seed=0).is_empty()
    assert frequencies_by("layer", found, empty, pl.DataFrame({"variant": ["cot"], "steps": [3]})).is_empty()
