import numpy as np
import pytest

from cotlens.analyze.regression import cluster_slopes


def _by_the_book(x: np.ndarray, y: np.ndarray, covariates: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Slope and standard error from the matrices of the sandwich formula."""
    design = np.column_stack([x, covariates])
    bread = np.linalg.inv(design.T @ design)
    beta = bread @ design.T @ y
    residual = y - design @ beta
    meat = sum(
        np.outer(score, score)
        for g in np.unique(clusters)
        for score in [design[clusters == g].T @ residual[clusters == g]]
    )
    groups, rows, k = len(np.unique(clusters)), *design.shape
    variance = groups / (groups - 1) * (rows - 1) / (rows - k) * (bread @ meat @ bread)
    return float(beta[0]), float(np.sqrt(variance[0, 0]))


def test_slopes_and_errors_are_those_of_the_sandwich_formula() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 4)
    x = rng.normal(size=(80, 2)) + rng.normal(size=(20, 2))[clusters]
    y = (rng.random(80) < 0.5).astype(float)
    covariates = np.column_stack([np.ones(80), rng.normal(size=80)])
    found = cluster_slopes(x, y, covariates, clusters, 0.95)
    for column in range(2):
        slope, error = _by_the_book(x[:, column], y, covariates, clusters)
        assert found.slope[column] == pytest.approx(slope)
        assert found.high[column] - found.slope[column] == pytest.approx(2.093024 * error)  # t of 19 degrees, 97.5%


def test_what_the_covariates_explain_has_no_slope() -> None:
    covariates = np.ones((6, 1))
    found = cluster_slopes(np.full((6, 1), 3.0), np.array([0.0, 1, 0, 1, 0, 1]), covariates, np.arange(6), 0.95)
    assert np.isnan(found.slope).all()
    assert np.isnan(found.p_value).all()


def test_an_outcome_that_never_changes_has_no_slope() -> None:
    found = cluster_slopes(np.arange(6.0)[:, None], np.ones(6), np.ones((6, 1)), np.arange(6), 0.95)
    assert np.isnan(found.slope).all()


@pytest.mark.parametrize("size", [30, 100])
def test_intervals_cover_where_rows_of_a_cluster_go_together(size: int) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    clusters = np.repeat(np.arange(size), 3)
    for _ in range(500):
        easy = rng.normal(size=size)[clusters]
        x = rng.normal(size=(3 * size, 1)) + easy[:, None]
        y = (rng.random(3 * size) < np.clip(0.5 + 0.05 * x[:, 0], 0, 1)).astype(float)
        found = cluster_slopes(x, y, np.ones((3 * size, 1)), clusters, 0.95)
        covered += bool(found.low[0] <= 0.05 <= found.high[0])
    assert 0.925 <= covered / 500 <= 0.98
