from typing import Any

import pytest

from cotlens.config import RunConfig
from cotlens.report.words import (
    accuracy_words,
    apart_words,
    frequency_words,
    length_words,
    opening_words,
)


def _accuracy(*rows: tuple[str, float, float, float]) -> list[dict[str, Any]]:
    names = ("variant", "accuracy", "low", "high")
    return [dict(zip(names, row, strict=True)) | {"correct": 1, "questions": 2} for row in rows]


def test_overlapping_intervals_show_no_difference() -> None:
    text = accuracy_words(_accuracy(("cot", 0.5, 0.4, 0.6), ("text_only", 0.4, 0.3, 0.5)))
    assert text.startswith("Accuracy ranged from 40.0% (text_only) to 50.0% (cot); all intervals overlap")


def test_separate_intervals_are_named() -> None:
    text = accuracy_words(_accuracy(("cot", 0.8, 0.7, 0.9), ("text_only", 0.4, 0.3, 0.5)))
    assert text.endswith("the intervals of text_only (30.0–50.0%) and cot (70.0–90.0%) do not overlap.")


def _lengths(**tokens: float | None) -> list[dict[str, Any]]:
    return [{"variant": variant, "prompt_tokens": length} for variant, length in tokens.items()]


def test_the_shortest_and_the_longest_prompt_are_named() -> None:
    text = length_words(_lengths(cot=831.6, zero_shot=40.0, text_only=None, add_only=1234.0))
    assert text.startswith("Prompts are 40 (zero_shot) to 1,234 tokens long (add_only). Where two variants differ")


def test_a_single_known_length_is_compared_with_nothing() -> None:
    assert length_words(_lengths(cot=800.0, text_only=None)) == ""
    assert length_words(_lengths(cot=800.0, text_only=800.0)) == "All prompts are 800 tokens long on average."


def test_many_variants_are_counted_not_listed() -> None:
    few = RunConfig.model_validate({"prompt": {"variants": ["cot", "file:/a/b.txt"]}})
    many = RunConfig.model_validate({"prompt": {"variants": ["cot", *"bcde"]}})
    assert "under 2 prompt variants (cot and file:b.txt)." in opening_words(few, 4, 9, 3, 2)
    assert "under 5 prompt variants." in opening_words(many, 4, 9, 3, 2)


def test_no_cell_above_its_band_is_said_in_a_word() -> None:
    row = {"concept": "add", "random": 0.1, "apart": ""}
    assert apart_words([row]).startswith("In none of 1 cell a concept’s interval lies wholly above")


@pytest.mark.parametrize(
    ("apart", "verdict"), [("above", "more often than"), ("below", "less often than"), ("", "not clearly apart from")]
)
def test_frequency_claims_follow_the_band(apart: str, verdict: str) -> None:
    row = {"concept": "all", "variant": "cot", "frequency": 0.02, "low": 0.01, "high": 0.03, "apart": apart}
    random = {"random": 0.01, "random_low": 0.005, "random_high": 0.015}
    assert verdict in frequency_words([row | random])
