from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.analyze.simulation import make_counts, make_index

from cotlens.analyze.comparisons import compare_frequencies
from cotlens.config import AnalyzeConfig

CONFIG = AnalyzeConfig(bootstrap=300, permutations=199, control_draws=4)


def _row(table: pl.DataFrame, **key: Any) -> dict[str, Any]:
    return table.filter(**key).row(0, named=True)


def test_the_difference_is_that_of_the_pooled_frequencies() -> None:
    rng = np.random.default_rng(0)
    index = make_index(("add", "equals"), draws=4)
    steps = rng.integers(20, 60, size=(2, 15))
    counts = {
        name: make_counts(index, own, np.full((15, index.columns.height), share), rng)
        for name, own, share in zip(("cot", "text_only"), steps, (0.3, 0.2), strict=True)
    }
    table = compare_frequencies(counts, {}, "cot", index, CONFIG, seed=0)
    row = _row(table, role="all", concept="add")
    own = [count.by_question[0, :, :, 0].sum() / (5 * count.steps[0].sum()) for count in counts.values()]
    assert (row["frequency"], row["reference_frequency"]) == pytest.approx((own[1], own[0]))
    assert row["difference"] == pytest.approx(own[1] - own[0])
    assert row["low"] < row["difference"] < row["high"] < 0
    assert (row["p_value"], row["questions"], row["contrast"]) == (pytest.approx(1 / 200), 15, "free")
    assert row["q_value"] == pytest.approx(1 / 200), "both concepts have that p-value"
    assert row["random_low"] <= row["random_difference"] <= row["random_high"]
    assert _row(table, role="text", concept="add")["difference"] == pytest.approx(row["difference"])
    assert set(table["role"]) == {"all", "text"}, "roles that do not occur are left out"


def test_what_the_prompt_does_and_what_the_text_does_come_apart() -> None:
    """The text alone raises ``add``, the prompt alone raises ``equals``."""
    rng = np.random.default_rng(1)
    index = make_index(("add", "equals"), draws=4)
    steps = rng.integers(30, 50, size=40)
    base = np.full((40, index.columns.height), 0.2)
    add, equals = (index.concepts().index(name) for name in ("add", "equals"))
    columns = [int(group[0]) for _, kind, group in index.groups() if kind == "concept"]
    own, after = base.copy(), base.copy()
    own[:, columns[add]] += 0.1
    own[:, columns[equals]] += 0.1
    after[:, columns[equals]] += 0.1
    free = {"cot": make_counts(index, steps, base, rng), "text_only": make_counts(index, steps, own, rng)}
    forced = {"text_only": make_counts(index, steps, after, rng)}
    table = compare_frequencies(free, forced, "cot", index, CONFIG, seed=0).filter(role="all")
    found = {
        (row["contrast"], row["concept"]): row["p_value"] < 0.01 and row["difference"] > 0.05
        for row in table.iter_rows(named=True)
    }
    assert found == {
        ("free", "add"): True, ("forced", "add"): False, ("text", "add"): True,
        ("free", "equals"): True, ("forced", "equals"): True, ("text", "equals"): False,
    }  # fmt: skip
    for concept in ("add", "equals"):
        free_row, forced_row, text_row = (
            _row(table, contrast=contrast, concept=concept) for contrast in ("free", "forced", "text")
        )
        assert text_row["difference"] == pytest.approx(free_row["difference"] - forced_row["difference"])


def test_only_questions_of_both_variants_are_compared() -> None:
    rng = np.random.default_rng(2)
    index = make_index(("add",), draws=2)
    shares = np.full((6, index.columns.height), 0.2)
    cot, text_only = (make_counts(index, np.full(6, 30), shares, rng) for _ in range(2))
    text_only.questions = [*text_only.questions[1:], "q9999"]
    table = compare_frequencies({"cot": cot, "text_only": text_only}, {}, "cot", index, CONFIG, seed=0)
    assert table["questions"].to_list() == [5, 5]
    reference = cot.by_question[0, 1:, :, 0].sum() / (5 * 30 * 5)
    assert table["reference_frequency"][0] == pytest.approx(reference)


def test_one_variant_alone_gives_an_empty_table() -> None:
    rng = np.random.default_rng(2)
    index = make_index(("add",), draws=2)
    counts = {"cot": make_counts(index, np.full(6, 30), np.full((6, index.columns.height), 0.2), rng)}
    assert compare_frequencies(counts, {}, "cot", index, CONFIG, seed=0).is_empty()
