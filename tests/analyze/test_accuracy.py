import polars as pl
import pytest

from cotlens.analyze import accuracy_by_variant


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
