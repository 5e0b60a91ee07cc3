import polars as pl
import pytest
from scipy.stats import binomtest

from cotlens.analyze import wilson
from cotlens.analyze.failure_tables import completion_failures, failure_shares, intervention_failures
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=300, permutations=99)
RIGHT, SLIP, LOST = "4 + 9 = 13. The answer is 13.", "4 + 9 = 12. The answer is 12.", "Ann has"


def _completions() -> pl.DataFrame:
    texts = {"cot": [RIGHT] * 8 + [SLIP] * 2, "text_only": [SLIP] * 6 + [RIGHT] * 2 + [LOST] * 2}
    return pl.DataFrame(
        [
            {"variant": variant, "question_id": f"q{place}", "gold": "13", "text": text, "correct": text == RIGHT}
            | {"answer_strict": None if text == LOST else "1", "stop_reason": "length" if text == LOST else "stop"}
            for variant, some in texts.items()
            for place, text in enumerate(some)
        ]
    )


def test_every_completion_has_its_class() -> None:
    table = completion_failures(_completions())
    assert table.height == 20
    assert table.filter(variant="text_only")["class"].to_list() == (
        ["arithmetic_slip"] * 6 + ["correct"] * 2 + ["truncated"] * 2
    )


def test_shares_and_shifts_are_those_counted_by_hand() -> None:
    table = failure_shares(completion_failures(_completions()), ["variant"], ("cot",), CONFIG, seed=0)
    found = {(row["variant"], row["class"]): row for row in table.iter_rows(named=True)}
    assert found["cot", "correct"]["share"] == 0.8
    assert (found["cot", "correct"]["low"], found["cot", "correct"]["high"]) == pytest.approx(wilson(8, 10))
    assert found["cot", "correct"]["difference"] is None
    assert found["cot", "truncated"]["share"] == 0.0, "a class that occurs anywhere stands in every condition"
    slip = found["text_only", "arithmetic_slip"]
    # Six questions became slips, two that were slips no longer are.
    assert (slip["share"], slip["difference"]) == pytest.approx((0.6, 0.4))
    assert slip["difference_low"] < 0.4 < slip["difference_high"]
    assert slip["p_value"] == pytest.approx(binomtest(2, 8).pvalue)
    assert slip["q_value"] >= slip["p_value"]


def test_draws_of_an_edit_count_as_their_mean_by_question() -> None:
    sets = {("none", 0): [RIGHT, RIGHT], ("random", 0): [RIGHT, SLIP], ("random", 1): [SLIP, SLIP]}
    rows = [
        {"target": "reasoning", "scope": "set", "set": name, "kind": "noise", "dose": 1.0, "draw": draw}
        | {"question_id": f"q{place}", "answer": "1", "correct": text == RIGHT, "text": text, "stop_reason": "stop"}
        for (name, draw), texts in sets.items()
        for place, text in enumerate(texts)
    ]
    found = intervention_failures(pl.DataFrame(rows), _completions())
    assert found.height == 6
    table = failure_shares(found, ["set", "kind", "dose"], ("none", "noise", 1.0), CONFIG, seed=0)
    slips = table.filter(pl.col("class") == "arithmetic_slip", set="random").row(0, named=True)
    assert (slips["share"], slips["difference"], slips["questions"], slips["completions"]) == (0.75, 0.75, 2, 4)
