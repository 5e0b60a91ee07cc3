from collections import Counter

import polars as pl
import pytest

from cotlens.config import InterveneConfig
from cotlens.errors import InputError
from cotlens.intervene.conditions import UNTOUCHED, Condition, make_conditions

DISCOVERED = pl.DataFrame(
    [(layer, neuron) for layer in range(3) for neuron in range(6)],
    schema={"layer": pl.Int32, "neuron": pl.Int32},
    orient="row",
)


def members(**sets: list[tuple[int, int]]) -> pl.DataFrame:
    """Sets by name, and one random set for each, which holds the next neuron of the layer."""
    rows = [(name, name, 0, *one) for name, own in sets.items() for one in own]
    rows += [("random", name, 0, layer, neuron + 1) for name, own in sets.items() for layer, neuron in own]
    schema = {"set": pl.String, "target": pl.String, "draw": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def conditions(table: pl.DataFrame, **config: object) -> list[Condition]:
    return make_conditions(InterveneConfig.model_validate(config), table, DISCOVERED)


def test_every_edit_dose_scope_and_draw_is_a_condition() -> None:
    edits = [{"kind": "noise", "doses": [1, 2]}, {"kind": "zero"}, {"kind": "scale", "doses": [0.5, 2, 3]}]
    found = conditions(members(a=[(0, 1)], b=[(1, 1)]), edits=edits, scopes=["set", "rest"], draws=3)
    counted = Counter((one.target, one.kind, one.set == "random") for one in found)
    for target in "ab":
        assert counted[target, "noise", False] == 3 * 2 * 2, "noise has draws"
        assert counted[target, "zero", False] == 1 * 1 * 2, "nothing else leaves anything to chance"
        assert counted[target, "scale", False] == 1 * 3 * 2
        assert counted[target, "noise", True] == 1 * 2 * 2
    assert [one.target for one in found] == sorted(one.target for one in found), "set by set"
    assert len({one.part for one in found} | {UNTOUCHED.part}) == len(found) + 1


def test_a_set_and_its_rest_are_all_discovered_neurons_of_its_layers() -> None:
    own, rest, *random = conditions(
        members(a=[(0, 1), (2, 3)]), edits=[{"kind": "zero"}], scopes=["set", "rest"]
    )[::2]  # fmt: skip
    assert (own.scope, rest.scope) == ("set", "rest")
    assert own.neurons == [(0, 1), (2, 3)]
    whole = DISCOVERED.filter(pl.col("layer") != 1).rows()
    assert sorted([*own.neurons, *rest.neurons]) == whole
    assert not random


def test_what_is_spared_of_a_random_set_is_the_random_set() -> None:
    found = conditions(members(a=[(0, 1)]), edits=[{"kind": "zero"}], scopes=["rest"])
    assert [one.neurons for one in found] == [
        [(0, 0), (0, 2), (0, 3), (0, 4), (0, 5)],
        [(0, 0), (0, 1), (0, 3), (0, 4), (0, 5)],
    ]


def test_a_listed_neuron_that_was_never_active_belongs_to_the_whole() -> None:
    [own, *_] = conditions(members(a=[(0, 1), (0, 40)]), edits=[{"kind": "zero"}], scopes=["rest"])
    assert (0, 40) not in own.neurons
    own, random = conditions(members(a=[(0, 1), (0, 40)]), edits=[{"kind": "zero"}], scopes=["rest"])
    assert (0, 40) in random.neurons


def test_a_rest_without_neurons_is_told() -> None:
    with pytest.raises(InputError, match="beside 'a' no neuron is left"):
        conditions(members(a=[(0, n) for n in range(6)]), scopes=["rest"])


@pytest.mark.parametrize(
    "name", ["reasoning", "concept:add", "Concept:add", "list:/a/b c.txt", "list:/" + "x" * 500, "ä"]
)
def test_files_have_names_that_every_file_system_takes_and_tells_apart(name: str) -> None:
    part = Condition(name, name, "set", "noise", 1.0, 0, ()).part
    assert part.isascii()
    assert part == part.lower()
    assert len(part) < 100
    assert not set(part) & set('/\\:*?"<>| ')
    others = ["Reasoning", "concept_add", "list:/a/b_c.txt", "list:/" + "x" * 501, "ö"]
    for other in others:
        assert Condition(other, other, "set", "noise", 1.0, 0, ()).part != part


def test_doses_that_differ_a_little_have_files_of_their_own() -> None:
    parts = {Condition("a", "a", "set", "noise", dose, 0, ()).part for dose in (1.0, 1.0000001, 10.0, 0.1)}
    assert len(parts) == 4
