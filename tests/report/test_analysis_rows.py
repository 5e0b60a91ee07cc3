import polars as pl

from cotlens.report.analysis_rows import correctness_rows, difference_rows, failure_rows

NAMES = {"cot": "cot", "text_only": "text_only"}


def _comparisons(**changes: object) -> pl.DataFrame:
    row = {
        "contrast": "free", "role": "all", "variant": "text_only", "reference": "cot", "concept": "add",
        "difference": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.001, "q_value": 0.04,
        "random_low": -0.01, "random_high": 0.01,
    }  # fmt: skip
    return pl.DataFrame([row | changes])


def test_a_difference_is_sure_by_its_corrected_p_value_alone() -> None:
    assert difference_rows(_comparisons(), NAMES)[0]["sure"]
    assert not difference_rows(_comparisons(q_value=0.06), NAMES)[0]["sure"]
    assert not difference_rows(_comparisons(q_value=float("nan")), NAMES)[0]["sure"]


def test_only_all_roles_together_are_drawn_and_the_union_comes_last() -> None:
    table = pl.concat(
        [_comparisons(role="operand"), *(_comparisons(concept=name) for name in ("all", "own", "equals", "add"))]
    )
    rows = difference_rows(table, NAMES)
    assert [row["label"] for row in rows] == ["add", "equals", "own", "all concepts"]


def test_all_variants_together_come_first() -> None:
    table = pl.DataFrame({"variant": ["cot", "all"], "concept": ["add", "add"], "auc": [0.4, float("nan")]})
    rows = correctness_rows(table, NAMES)
    assert [(row["variant"], row["auc"]) for row in rows] == [("all variants", None), ("cot", 0.4)]


def _shares(conditions: list[dict[str, object]]) -> pl.DataFrame:
    rows = [
        condition | {"class": kind, "share": 0.5, "difference": None, "q_value": None}
        for condition in conditions
        for kind in ("wrong_plan", "correct")
    ]
    return pl.DataFrame(rows, schema_overrides={"difference": pl.Float64, "q_value": pl.Float64})


def test_classes_and_conditions_stand_in_their_order() -> None:
    rows = failure_rows(_shares([{"variant": "text_only"}, {"variant": "cot"}]), NAMES)
    assert [(row["condition"], row["class"]) for row in rows] == [
        ("cot", "correct"), ("cot", "wrong_plan"), ("text_only", "correct"), ("text_only", "wrong_plan"),
    ]  # fmt: skip
