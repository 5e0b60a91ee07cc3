from pathlib import Path

import pytest

from cotlens.concepts import load_concepts, seeds_among
from cotlens.errors import DataError

PUBLISHED = ["add", "subtract", "multiply", "divide", "equals", "formula", "logic"]


def test_the_published_seven_are_there_with_seeds_and_a_question() -> None:
    concepts = load_concepts()
    assert [concept.id for concept in concepts] == PUBLISHED
    for concept in concepts:
        assert len(concept.seeds) >= 8
        assert concept.seeds < concept.words
        assert concept.question.endswith("?")


def test_variants_of_one_word_are_one_seed() -> None:
    add = load_concepts()[0]
    assert seeds_among((" plus", "Plus", "\tPLUS"), add) == {"plus"}
    assert seeds_among((" plus", "sum", "banana"), add) == {"plus", "sum"}


def test_a_users_file_has_the_same_form(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("- {id: colour, name: colour, seeds: [Red, ' blue'], words: [green], question: 'A colour?'}\n")
    [concept] = load_concepts(str(file))
    assert concept.seeds == {"red", "blue"}
    assert concept.words == {"red", "blue", "green"}


def test_a_concept_without_a_name_goes_by_its_id(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("- {id: colour, seeds: [red, blue], question: 'A colour?'}\n")
    [concept] = load_concepts(str(file))
    assert (concept.id, concept.name) == ("colour", "colour")


def test_the_example_is_the_published_set_without_logical_connection() -> None:
    example = Path(__file__).parents[2] / "examples/concepts/without-logic.yaml"
    assert load_concepts(str(example)) == [concept for concept in load_concepts() if concept.id != "logic"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not valid YAML"),
        ("a: 1", "expected a list of concepts"),
        ("[]", "expected a list of concepts"),
        ("- {id: a, name: a, seeds: [x]}", "concept 1: question: Field required"),
        ("- {id: a, name: a, seeds: [], question: q}", "concept 1: seeds"),
        ("- {id: A B, name: a, seeds: [x], question: q}", "concept 1: id"),
        ("- {id: a, name: a, seeds: [x], question: q, sedes: [y]}", "concept 1: sedes: Extra inputs"),
        ("- &c {id: a, name: a, seeds: [x], question: q}\n- *c", "'a' stands there twice"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_concepts(str(file))
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml: no such file"):
        load_concepts(str(tmp_path / "none.yaml"))
