import polars as pl
import pytest

from cotlens.report.names import variant_names
from cotlens.report.tables import accuracy_rows, comparison_rows, concept_order, step_rows

COT = variant_names(["cot"])


def _frequencies(*rows: tuple[str, str, str, float, float, float]) -> pl.DataFrame:
    columns = ["variant", "concept", "set", "frequency", "low", "high"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(neurons=3, draws=20, questions=4)


def test_accuracy_stands_beside_what_is_known_of_the_prompt() -> None:
    accuracy = pl.DataFrame({"variant": ["cot", "file:/a/b.txt"], "mean_prompt_tokens": [900.5, 40.0]})
    prompts = {"cot": {"mean_tokens": 900.0, "demonstrations": 8, "lines": 29, "equations": 13, "two_stage": False}}
    cot, own = accuracy_rows(accuracy, variant_names(accuracy["variant"]), prompts)
    assert (cot["prompt_tokens"], cot["demonstrations"], cot["lines"], cot["equations"]) == (900.0, 8, 29, 13)
    assert own["variant"] == "file:b.txt"
    assert (own["prompt_tokens"], own["demonstrations"], own["two_stage"]) == (40.0, None, None)


def test_published_concepts_come_first_in_their_order() -> None:
    assert concept_order(["zebra", "logic", "all", "add", "apple"]) == ["add", "logic", "apple", "zebra"]


@pytest.mark.parametrize(
    ("low", "high", "apart"), [(0.31, 0.4, "above"), (0.25, 0.4, ""), (0.05, 0.15, ""), (0.02, 0.08, "below")]
)
def test_apart_asks_for_the_whole_interval(low: float, high: float, apart: str) -> None:
    table = _frequencies(("cot", "add", "concept", 0.2, low, high), ("cot", "add", "random", 0.2, 0.1, 0.3))
    (row,) = comparison_rows(table, COT)
    assert row["apart"] == apart
    assert row["ratio"] == pytest.approx(1)


def test_random_sets_that_are_never_active_or_not_there_give_no_ratio() -> None:
    silent = _frequencies(("cot", "add", "concept", 0.2, 0.1, 0.3), ("cot", "add", "random", 0.0, 0.0, 0.0))
    alone = _frequencies(("cot", "add", "concept", 0.2, 0.1, 0.3))
    unknown = _frequencies(("cot", "add", "concept", 0.2, 0.1, 0.3), ("cot", "add", "random", *[float("nan")] * 3))
    for table in (silent, alone, unknown):
        assert comparison_rows(table, COT)[0]["ratio"] is None


def test_rows_follow_the_variants_of_the_run_and_end_with_all() -> None:
    names = [(variant, concept) for variant in ("cot", "add_only") for concept in ("all", "equals", "add")]
    table = _frequencies(*[(variant, concept, "concept", 0.2, 0.1, 0.3) for variant, concept in names])
    rows = comparison_rows(table, variant_names(["cot", "add_only"]))
    assert [(row["concept"], row["variant"]) for row in rows] == [
        (concept, variant) for concept in ("add", "equals", "all") for variant in ("cot", "add_only")
    ]


def test_steps_that_few_answers_reach_are_left_out_and_means_are_weighted() -> None:
    reached = [8, 8, 4, 2, 1]
    frame = pl.DataFrame(
        {"variant": "cot", "concept": "all", "set": "concept", "step": range(5), "steps": reached, "neurons": 1.0}
        | {"frequency": [0.1, 0.2, 0.3, 0.4, 0.5]}
    )
    rows = step_rows(frame, COT)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["smooth"] == pytest.approx((0.8 + 1.6 + 1.2) / 20)
