import polars as pl
import pytest
from scipy.stats import binomtest

from cotlens.analyze.accuracy import accuracy_by_variant, accuracy_differences
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=300, permutations=199)


def test_each_variant_has_its_counts_and_interval_in_the_order_given() -> None:
    completions = pl.DataFrame(
        {
            "variant": ["text_only"] * 2 + ["cot"] * 4,
            "correct": [True, False, True, True, True, False],
            "correct_flexible": [True, True, True, True, True, False],
            "answer_strict": ["1", None, "2", "3", "4", "5"],
            "prompt_length": [10] * 6,
            "token_ids": [[0] * 12, [0] * 16, *[[0] * 11] * 4],
            "stop_reason": ["stop", "length", "stop", "stop", "eos", "stop"],
        }
    )
    cot, text_only = accuracy_by_variant(completions, ("cot", "text_only"), 0.95).to_dicts()
    assert (cot["variant"], cot["correct"], cot["questions"], cot["accuracy"]) == ("cot", 3, 4, 0.75)
    assert (cot["low"], cot["high"]) == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert (text_only["answered"], text_only["mean_tokens"], text_only["cut_off"]) == (0.5, 4.0, 0.5)
    assert text_only["accuracy_flexible"] == 1.0


def test_accuracy_is_compared_question_by_question() -> None:
    right = {"cot": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "text_only": [0, 0, 0, 0, 0, 0, 1, 1, 0, 0]}
    completions = pl.DataFrame(
        [
            {"variant": variant, "question_id": f"q{place}", "correct": bool(value)}
            for variant, values in right.items()
            for place, value in enumerate(values)
        ]
    )
    [row] = accuracy_differences(completions, ("cot", "text_only"), "cot", CONFIG, seed=0).to_dicts()
    assert (row["only_variant"], row["only_reference"], row["questions"]) == (1, 6, 10)
    assert (row["accuracy"], row["reference_accuracy"], row["difference"]) == pytest.approx((0.2, 0.7, -0.5))
    assert row["p_value"] == row["q_value"] == pytest.approx(binomtest(1, 7).pvalue)
    assert row["low"] < -0.5 < row["high"]
    assert accuracy_differences(completions, ("cot",), "cot", CONFIG, seed=0).is_empty()
