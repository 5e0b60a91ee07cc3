import numpy as np
import polars as pl
import pytest
from scipy import stats

from cotlens import LanguageModel, top_neurons
from cotlens.agreement import _agree, ranker_agreement
from cotlens.capture import RANKERS
from cotlens.errors import InputError

IDS = list(range(3, 30))


def test_one_row_per_pair_and_layer(llama: LanguageModel) -> None:
    found = ranker_agreement(llama, IDS, 20, top_k=12)
    assert found.columns == ["first", "second", "layer", "jaccard", "shared", "spearman", "steps"]
    assert found.height == 10 * 3
    assert set(found["first"]) | set(found["second"]) == set(RANKERS)
    assert found["jaccard"].is_between(0, 1).all()
    assert found["spearman"].is_between(-1, 1).all()


def test_equals_set_overlap_and_scipys_rank_correlation(llama: LanguageModel) -> None:
    found = ranker_agreement(llama, IDS, 20, top_k=15, rankers=["norm", "dla"])
    norm, dla = (top_neurons(llama, IDS, 20, 15, name) for name in ("norm", "dla"))
    for layer in range(3):
        overlaps, correlations = [], []
        for step in range(norm.steps):
            first = dict(zip(norm.neuron[step, layer].tolist(), norm.score[step, layer], strict=True))
            second = dict(zip(dla.neuron[step, layer].tolist(), dla.score[step, layer], strict=True))
            shared = sorted(first.keys() & second.keys())
            overlaps.append(len(shared) / len(first.keys() | second.keys()))
            if len(shared) >= 3:
                correlations.append(stats.spearmanr([first[n] for n in shared], [second[n] for n in shared]).statistic)
        row = found.row(by_predicate=pl.col("layer") == layer, named=True)
        assert row["jaccard"] == pytest.approx(np.mean(overlaps))
        assert row["spearman"] == pytest.approx(np.mean(correlations))
        assert row["steps"] == len(correlations)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([[1, 2, 3, 4]], [[1, 2, 3, 4]], {"jaccard": 1.0, "shared": 4.0, "spearman": 1.0, "steps": 1}),
        ([[1, 2, 3, 4]], [[4, 3, 2, 1]], {"jaccard": 1.0, "shared": 4.0, "spearman": -1.0, "steps": 1}),
        ([[1, 2, 3, 4]], [[5, 6, 7, 8]], {"jaccard": 0.0, "shared": 0.0, "spearman": None, "steps": 0}),
        ([[1, 2, 3, 4]], [[2, 9, 8, 1]], {"jaccard": 2 / 6, "shared": 2.0, "spearman": None, "steps": 0}),
        # Ranks 1, 2, 3 against 2, 1, 3: 1 - 6 * 2 / 24.
        ([[1, 2, 3, 4]], [[2, 9, 1, 3]], {"jaccard": 3 / 5, "shared": 3.0, "spearman": 0.5, "steps": 1}),
        # A step with nothing in common counts for the overlap only.
        ([[1, 2, 3], [1, 2, 3]], [[1, 2, 3], [7, 8, 9]], {"jaccard": 0.5, "shared": 1.5, "spearman": 1.0, "steps": 1}),
    ],
)
def test_by_hand(first: list[list[int]], second: list[list[int]], expected: dict[str, float | None]) -> None:
    assert _agree(np.array(first), np.array(second)) == pytest.approx(expected)


def test_needs_two_rankers_that_exist(llama: LanguageModel) -> None:
    for rankers in ([], ["norm"], ["norm", "norm"]):
        with pytest.raises(InputError, match="at least two rankers"):
            ranker_agreement(llama, IDS, 20, rankers=rankers)
    with pytest.raises(InputError, match="ranker 'nrom' is not known; did you mean 'norm'"):
        ranker_agreement(llama, IDS, 20, 5, rankers=["grad", "nrom"])
