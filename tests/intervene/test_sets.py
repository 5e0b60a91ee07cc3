import logging
from pathlib import Path

import polars as pl
import pytest

from cotlens import RunConfig
from cotlens.errors import ConfigError, DataError, InputError
from cotlens.intervene.sets import Found, NamedSet, check_layers, check_sets, find_sets, list_files, read_list
from cotlens.types import NeuronId

CONCEPTS = pl.DataFrame(
    [(2, 9, 1, "add"), (1, 4, 1, "add"), (1, 4, -1, "add"), (3, 0, 1, "equals"), (1, 4, 1, "equals")],
    schema={"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8, "concept": pl.String},
    orient="row",
)
DISCOVERED = pl.DataFrame([(layer, neuron) for layer in range(4) for neuron in range(3)], orient="row", schema={
    "layer": pl.Int32, "neuron": pl.Int32})  # fmt: skip
SCORES = {
    "": pl.DataFrame({"layer": [0, 1, 1, 2], "neuron": [5, 8, 2, 1], "score": [1.0, 3.0, 3.0, -9.0]}),
    "dla": pl.DataFrame({"layer": [3, 0], "neuron": [1, 5], "score": [2.0, 1.0]}),
}
FOUND = Found(CONCEPTS, DISCOVERED, SCORES.__getitem__)


def find(*names: str, found: Found = FOUND) -> dict[str, list[tuple[int, int]]]:
    return {name: members.rows() for name, members in find_sets(names, found).items()}


def config(*sets: str, **other: object) -> RunConfig:
    return RunConfig.model_validate({"intervene": {"sets": sets} | other})


def test_each_kind_of_set_has_the_members_that_its_name_says() -> None:
    assert find("reasoning") == {"reasoning": [(1, 4), (2, 9), (3, 0)]}
    assert find("concept:add") == {"concept:add": [(1, 4), (2, 9)]}
    assert find("concepts") == {"concept:add": [(1, 4), (2, 9)], "concept:equals": [(1, 4), (3, 0)]}
    assert find("top:2") == {"top:2": [(1, 2), (1, 8)]}
    assert find("top:1:dla") == {"top:1:dla": [(3, 1)]}
    assert find("all") == {"all": DISCOVERED.rows()}


def test_equal_scores_are_ordered_by_neuron() -> None:
    assert find("top:1") == {"top:1": [(1, 2)]}


def test_a_band_keeps_to_its_layers() -> None:
    assert find("reasoning@2-3") == {"reasoning@2-3": [(2, 9), (3, 0)]}
    assert find("all@1") == {"all@1": [(1, 0), (1, 1), (1, 2)]}
    assert find("concepts@3") == {"concept:equals@3": [(3, 0)]}, "of the concepts those that have neurons there"
    assert find("top:3@1-2") == {"top:3@1-2": [(1, 2), (1, 8)]}


def test_a_set_that_two_names_mean_is_there_once() -> None:
    assert list(find("concept:equals", "concepts", "reasoning")) == ["concept:equals", "concept:add", "reasoning"]


def test_a_list_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "my neurons.txt"
    file.write_text("\ufeff# mine\n\n L12N345 \nl1n2 # a remark\n", encoding="utf-8")
    assert read_list(str(file)) == [NeuronId(12, 345), NeuronId(1, 2)]
    assert find(f"list:{file}@0-3") == {f"list:{file}@0-3": [(1, 2)]}
    assert list_files(config(f"list:{file}", "reasoning")) == [[NeuronId(12, 345), NeuronId(1, 2)]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("L1N2\nL1M3\n", r"line 2: 'L1M3' is not a neuron; write layer and index as L12N345"),
        ("L1N2\n\nL1N2\n", r"line 3: L1N2 stands in line 1 already"),
        ("# nothing\n", r"no neuron in it; write one L12N345 a line"),
    ],
)
def test_a_mistake_in_a_list_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        check_sets(config(f"list:{file}"))
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reasonin", r"'reasonin' is no set of neurons; did you mean 'reasoning'\?; write reasoning, concepts, "),
        ("concept", r"'concept' is no set of neurons; write "),
        ("reasoning:add", r"'reasoning:add' is no set of neurons; write "),
        ("", "'' is no set of neurons; known: "),
        ("concept:ad", r"concept 'ad' is not known; did you mean 'add'\?"),
        ("top:0", "'0' is no number of neurons; write top:N, N from 1"),
        ("top:ten", "'ten' is no number of neurons"),
        ("top:5:nor", r"no ranker 'nor'; did you mean 'norm'\?"),
        ("top:5:", "no ranker ''"),
        ("all@9-3", "layer 9 comes after 3; write LOW-HIGH"),
        ("list:/no/such/file.txt", "/no/such/file.txt: no such file"),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_looked_up(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_sets(config(name))


def test_concepts_that_the_judge_names_itself_are_known_later() -> None:
    open_mode = config("concept:birds").model_dump() | {"label": {"mode": "open"}}
    check_sets(RunConfig.model_validate(open_mode))


def test_beside_all_neurons_there_is_no_rest() -> None:
    check_sets(config("all", scopes=["set"]))
    with pytest.raises(ConfigError, match="beside 'all@1-2' nothing is left to edit"):
        check_sets(config("all@1-2", scopes=["set", "rest"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reasoning@2-4", r"'reasoning@2-4': tiny has layers 0 to 3"),
        ("list:L4N1", r"list.txt: L4N1: tiny has layers 0 to 3"),
        ("list:L0N8", r"list.txt: L0N8: tiny has neurons 0 to 7 in each layer"),
    ],
)
def test_what_the_model_has_not_got_is_told(tmp_path: Path, name: str, message: str) -> None:
    kind, _, text = name.partition(":")
    if kind == "list":
        (tmp_path / "list.txt").write_text(text)
        name = f"list:{tmp_path / 'list.txt'}"
    with pytest.raises(ConfigError, match=message):
        check_layers(config(name), "tiny", 4, 8)
    check_layers(config(name), "of unknown size", None, None)


def test_no_reasoning_neuron_is_a_result_and_not_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    nothing = Found(CONCEPTS.clear(), DISCOVERED, SCORES.__getitem__)
    with caplog.at_level(logging.WARNING):
        assert find("reasoning", "concepts", "top:1", found=nothing) == {"top:1": [(1, 2)]}
    assert "set 'reasoning' has no neuron, since the judge confirmed none; it is left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("concept:divide", "'concept:divide' has no neuron; the judge confirmed neurons for add, equals"),
        ("reasoning@0", "'reasoning@0' has no neuron in these layers; without the band it has some in 1 to 3"),
        ("concepts@0", "'concepts@0' has no neuron in these layers"),
    ],
)
def test_a_set_without_members_is_a_mistake_where_it_was_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(name)


def test_a_name_is_read_into_its_parts() -> None:
    assert NamedSet.parse("top:5:dla@2-3") == NamedSet("top:5:dla@2-3", "top:", "5:dla", (2, 3))
    assert NamedSet.parse("list:a@b/c.txt") == NamedSet("list:a@b/c.txt", "list:", "a@b/c.txt", None)
