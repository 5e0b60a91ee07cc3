"""Names of concepts: which are one by rule, and which the judge joins, however many there are."""

from collections.abc import Callable, Sequence
from itertools import combinations

import pytest

from cotlens.concepts.naming import as_verdicts, concept_id, merge_names, plain_name
from cotlens.judge.book import Asked, Record

Ask = Callable[[Sequence[Asked]], list[Record]]


def grouping(*groups: Sequence[str]) -> tuple[Ask, list[tuple[str, ...]]]:
    """A judge that joins what stands together in ``groups``, and the names that it was asked about."""
    asked: list[tuple[str, ...]] = []

    def ask(questions: Sequence[Asked]) -> list[Record]:
        asked.extend(question.question.names for question in questions)
        return [{"answer": tuple(_among(question.question.names))} for question in questions]

    def _among(names: Sequence[str]) -> list[tuple[str, ...]]:
        joined = [tuple(name for name in group if name in names) for group in groups]
        alone = [(name,) for name in names if not any(name in group for group in groups)]
        return [group for group in joined if group] + alone

    return ask, asked


def test_the_most_frequent_name_stands_for_its_group() -> None:
    names = ["Addition", "sums", "the sum", "addition", "additions", "colour", "none"]
    ask, asked = grouping(["addition", "sum"])
    assert merge_names([names], ask) == dict.fromkeys(names[:5], "addition") | {"colour": "colour", "none": "none"}
    assert asked == [("addition", "colour", "sum")]


def test_names_of_one_meaning_by_rule() -> None:
    assert plain_name(" “Units of Length” ") == "units of length"
    assert plain_name("glass") == "glass"
    assert concept_id("unit of length") == "unit_of_length"


def test_the_names_of_a_second_judge_are_joined_to_those_of_the_first() -> None:
    ask, _ = grouping(["sum", "addition", "plus"])
    merged = merge_names([["addition", "colour"], ["sum", "sum", "plus"]], ask)
    assert merged == {"addition": "addition", "sum": "addition", "plus": "addition", "colour": "colour"}


@pytest.mark.parametrize("number", [2, 100, 101, 180, 420])
def test_any_two_names_stand_in_one_question_at_some_time(number: int) -> None:
    names = [f"n{place:03d} zz" for place in range(number)]
    ask, asked = grouping()
    assert merge_names([names], ask) == {name: name for name in names}
    met = {pair for together in asked for pair in combinations(sorted(together), 2)}
    assert met == set(combinations(names, 2))
    assert max(map(len, asked)) <= 100


def test_names_far_apart_are_joined() -> None:
    names = ["addition", "sum", *(f"n{place:03d} zz" for place in range(150)), "zusammen", "adding up"]
    ask, asked = grouping(["sum", "addition", "zusammen", "adding up"])
    merged = merge_names([[*names, "sum"]], ask)
    assert {merged[name] for name in ("addition", "sum", "zusammen", "adding up")} == {"sum"}
    assert len(set(merged.values())) == 151
    assert len(asked) == 2 + 6, "in pieces of a hundred, and what is left of them, two times fifty, each with each"


def test_one_question_is_enough_for_what_pieces_leave() -> None:
    pairs = [[f"{letter}{place:02d} zz" for letter in "am"] for place in range(60)]
    ask, asked = grouping(*pairs)
    merged = merge_names([[name for pair in pairs for name in pair]], ask)
    assert merged == {name: pair[0] for pair in pairs for name in pair}
    assert [len(together) for together in asked] == [100, 20, 80]


def test_without_an_answer_names_stay_as_they_are() -> None:
    assert merge_names([["sum", "addition"]], lambda questions: [{"answer": None}]) == {
        "sum": "sum", "addition": "addition",
    }  # fmt: skip
    assert merge_names([["sum", "none"]], lambda questions: pytest.fail("one name is not asked about")) == {
        "sum": "sum", "none": "none",
    }  # fmt: skip


def test_a_name_is_a_verdict_and_none_is_one_too() -> None:
    records = [{"status": "ok", "answer": "Sums"}, {"status": "ok", "answer": "none"}, {"status": "refused"}]
    named = as_verdicts([*records, {"status": "ok", "answer": "A Tree"}], {"Sums": "addition", "none": "none"})
    assert [(record["named"], record["verdict"]) for record in named] == [
        ("addition", True), ("none", False), (None, None), ("tree", True),
    ]  # fmt: skip
