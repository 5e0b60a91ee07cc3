from collections.abc import Callable

import polars as pl
import pytest

from cotlens.analyze.breakdowns import by_layer, by_layer_and_role, by_step
from cotlens.analyze.counting import Counts
from cotlens.analyze.sets import SetIndex, index_sets, make_sets


def test_frequencies_by_layer_are_those_counted_by_hand(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = by_layer({"cot": count(index)}, index)
    found = {(row["set"], row["layer"]): row for row in table.iter_rows(named=True)}
    assert found["concept", 0]["frequency"] == pytest.approx(1 / 3)
    assert found["concept", 1]["frequency"] == pytest.approx(2 / 3)
    assert found["random", 0]["frequency"] == pytest.approx((2 + 1) / (3 * 2))
    assert (found["concept", 1]["any"], found["concept", 1]["opposite"]) == pytest.approx((2 / 3, 0.0))
    assert found["concept", 0]["opposite"] == pytest.approx(1 / 3)
    assert (found["random", 1]["neurons"], found["random", 1]["steps"]) == (1.0, 3)


def test_frequencies_by_step_are_those_counted_by_hand(index: SetIndex, count: Callable[..., Counts]) -> None:
    table = by_step({"cot": count(index)}, index).filter(set="concept")
    assert table["frequency"].to_list() == pytest.approx([3 / 4, 0 / 2])
    assert table["steps"].to_list() == [2, 1]
    assert table["any"].to_list() == pytest.approx([1.0, 0.0])


def test_the_roles_of_a_layer_add_up_to_the_layer(index: SetIndex, count: Callable[..., Counts]) -> None:
    counts = {"cot": count(index)}
    table = by_layer_and_role(counts, index).with_columns(active=pl.col("frequency") * pl.col("steps"))
    summed = table.group_by("set", "layer").agg(pl.col("active", "steps").sum()).sort("set", "layer")
    layers = by_layer(counts, index).sort("set", "layer")
    assert (summed["active"] / summed["steps"]).to_list() == pytest.approx(layers["frequency"].to_list())


def test_a_set_without_members_has_no_rows(index: SetIndex, count: Callable[..., Counts]) -> None:
    concepts = pl.DataFrame(schema={"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8, "concept": pl.String})
    neurons = pl.DataFrame(
        schema={
            "layer": pl.Int32, "neuron": pl.Int32, "hits_positive": pl.UInt32, "hits_negative": pl.UInt32,
            "value_norm": pl.Float32,
        }
    )  # fmt: skip
    empty = index_sets(make_sets(concepts, neurons, draws=2, seed=0), neurons)
    counts = {"cot": count(empty)}
    assert by_layer(counts, empty).is_empty()
    assert by_step(counts, empty).is_empty()
