import numpy as np
import polars as pl

from cotlens.analyze.sets import index_sets, make_sets

KEYS = {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8}
NEURONS = pl.DataFrame(
    {
        "layer": [0] * 9 + [1] * 9,
        "neuron": [*range(9)] * 2,
        "hits_positive": [1] * 18,
        "hits_negative": [1] * 18,
        "value_norm": [float(n) for n in range(18)],
    },
    schema_overrides={"layer": pl.Int32, "neuron": pl.Int32},
)
CONCEPTS = pl.DataFrame(
    {"layer": [0, 1, 1, 1], "neuron": [1, 5, 5, 5], "sign": [1, -1, -1, 1], "concept": ["add", "add", "equals", "add"]},
    schema=KEYS | {"concept": pl.String},
)


def test_sets_are_every_concept_all_together_and_matched_random_ones() -> None:
    members = make_sets(CONCEPTS, NEURONS, draws=3, seed=0)
    sizes = {key: group.height for key, group in members.partition_by("concept", "set", as_dict=True).items()}
    assert sizes == {
        ("add", "concept"): 3,
        ("add", "random"): 9,
        ("equals", "concept"): 1,
        ("equals", "random"): 3,
        ("all", "concept"): 3,
        ("all", "random"): 9,
    }
    labelled = set(CONCEPTS.select("layer", "neuron").rows())
    assert not labelled & set(members.filter(set="random").select("layer", "neuron").rows())


def test_the_index_finds_every_member_and_nothing_else() -> None:
    members = make_sets(CONCEPTS, NEURONS, draws=2, seed=0)
    index = index_sets(members, NEURONS)
    back = []
    for number in range(2 * index.neurons.height):
        layer, neuron = index.neurons.row(number // 2)
        for column in index.member_column[index.starts[number] : index.starts[number + 1]]:
            concept, kind, draw, _ = index.columns.row(int(column))
            back.append((concept, kind, draw, layer, neuron, 1 if number % 2 == 0 else -1))
    assert sorted(back) == sorted(members.rows())
    found = index.find(np.array([1, 1, 0, 7]), np.array([5, 400, 1, 5]))
    assert (found >= 0).tolist() == [True, False, True, False]
    assert index.value_norm[found[0]] == 14.0
    assert index.sizes.sum() == members.height


def test_a_neuron_with_both_labels_has_no_opposite_sign() -> None:
    index = index_sets(make_sets(CONCEPTS, NEURONS, draws=0, seed=0), NEURONS)
    place = int(index.find(np.array([1]), np.array([5]))[0])
    by_column = dict(
        zip(index.member_column[index.member // 2 == place], index.is_opposite[index.member // 2 == place], strict=True)
    )
    concepts = {index.columns.row(int(column))[0]: bool(value) for column, value in by_column.items()}
    assert concepts == {"add": False, "all": False, "equals": True}


def test_no_reasoning_neurons_give_an_index_that_finds_nothing() -> None:
    empty = make_sets(CONCEPTS.clear(), NEURONS.clear(), draws=3, seed=0)
    index = index_sets(empty, NEURONS)
    assert index.find(np.array([0]), np.array([1])).tolist() == [-1]
    assert [concept for concept, _, _ in index.groups()] == []
