"""What edits and sets are called, and which dose is the strongest."""

import polars as pl
import pytest

from cotlens.report.edits import KINDS, edit_name, set_labels, set_names, set_order, strongest


@pytest.mark.parametrize(
    ("kind", "dose", "name"),
    [("noise", 1.0, "noise 1"), ("zero", 1.0, "zero"), ("zero", 0.25, "zero 0.25"), ("scale", 2.0, "scale ×2")],
)
def test_an_edit_is_named_by_kind_and_dose(kind: str, dose: float, name: str) -> None:
    assert edit_name(kind, dose) == name


def test_the_strongest_dose_is_the_furthest_from_doing_nothing() -> None:
    """Which for a factor is 1."""
    edits = [("scale", 1.5), ("scale", 0.0), ("noise", 0.5), ("noise", 2.0), ("noise", 1.0)]
    assert strongest(edits) == [("noise", 2.0), ("scale", 0.0)]
    assert KINDS["scale"].identity == 1


def test_all_kinds_of_the_configuration_are_known() -> None:
    from typing import get_args

    from cotlens.config import EditConfig

    assert set(get_args(EditConfig.model_fields["kind"].annotation)) == set(KINDS)


def test_reasoning_comes_first_then_concepts_in_their_order_then_the_rest() -> None:
    given = ["top:50", "concept:zebra", "reasoning@6-11", "concept:logic", "concept:add", "reasoning", "top:50"]
    assert set_order(given) == [
        "reasoning@6-11", "reasoning", "concept:add", "concept:logic", "concept:zebra", "top:50",
    ]  # fmt: skip


def test_names_are_short_and_no_two_alike() -> None:
    names = set_names(["reasoning", "all", "concept:add", "list:/a/mine.txt", "list:/b/mine.txt", "concept:\x1b[31m"])
    assert list(names.values()) == ["reasoning", "all discovered", "add", "mine.txt", "mine.txt (2)", "\\x1b[31m"]


def test_sizes_stand_beside_names_where_they_are_known() -> None:
    members = pl.DataFrame({"set": ["reasoning", "reasoning", "random"], "draw": 0, "layer": [1, 2, 1], "neuron": 0})
    labels = set_labels({"reasoning": "reasoning", "all": "all discovered"}, members)
    assert labels == {"reasoning": "reasoning (2)", "all": "all discovered"}
