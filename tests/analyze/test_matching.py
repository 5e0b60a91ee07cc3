import numpy as np
import polars as pl
import pytest

from cotlens.analyze.matching import COVARIATES, Matcher, NotEnough, balance

WIDTH = 200
NOBODY = pl.DataFrame(schema={"layer": pl.Int32, "neuron": pl.Int32})


def neurons(layers: int = 3, width: int = WIDTH) -> pl.DataFrame:
    """Discovered neurons whose covariates go over several orders of magnitude, independently of each other."""
    rng = np.random.default_rng(0)
    count = layers * width
    return pl.DataFrame(
        {
            "layer": np.repeat(np.arange(layers, dtype=np.int32), width),
            "neuron": np.tile(np.arange(width, dtype=np.int32), layers),
            "value_norm": rng.lognormal(0, 1, count),
            "mean_score": rng.lognormal(1, 2, count),
            "activity": rng.geometric(0.02, count),
        }
    )


def members(*pairs: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=NOBODY.schema, orient="row")


CLUSTERED = members((0, 5), *((1, n) for n in range(40, 52)), (2, 7))


def layer_counts(rows: pl.DataFrame) -> list[tuple[int, int]]:
    return rows.group_by("layer").len().sort("layer").rows()


def test_layers_are_matched_exactly_also_where_neurons_cluster_in_one() -> None:
    excluded = members((1, 60), (1, 61), (2, 8))
    matcher = Matcher(CLUSTERED, neurons(), excluded)
    assert matcher.shortages == []
    for seed in range(20):
        drawn = matcher.draw([seed])
        assert layer_counts(drawn) == layer_counts(CLUSTERED) == [(0, 1), (1, 12), (2, 1)]
        assert drawn.unique().height == drawn.height, "without replacement"
        taken = set(drawn.rows())
        assert not taken & set(CLUSTERED.rows())
        assert not taken & set(excluded.rows())


def test_draws_repeat_with_their_seed_and_differ_by_it() -> None:
    matcher = Matcher(CLUSTERED, neurons(), NOBODY)
    assert matcher.draw([3, 1]).equals(matcher.draw([3, 1]))
    assert len({tuple(matcher.draw([seed]).rows()) for seed in range(20)}) == 20


def test_a_draw_does_not_depend_on_the_order_of_rows() -> None:
    table = neurons()
    one = Matcher(CLUSTERED, table, NOBODY).draw([1])
    other = Matcher(CLUSTERED.reverse(), table.sample(fraction=1, shuffle=True, seed=2), NOBODY).draw([1])
    assert one.equals(other)


def test_members_come_from_the_ten_nearest_neurons_of_the_layer() -> None:
    table = neurons(layers=1)
    logs = np.log(table.select("value_norm", "mean_score").to_numpy())
    logs = np.column_stack([logs, np.log1p(table["activity"].to_numpy())])
    z = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    distance = ((z - z[17]) ** 2).sum(axis=1)
    nearest = set(np.argsort(distance)[1:11].tolist())
    matcher = Matcher(members((0, 17)), table, NOBODY)
    drawn = {matcher.draw([seed])["neuron"].item() for seed in range(200)}
    assert drawn == nearest


def test_a_set_of_extremes_is_matched_far_better_than_by_layer_alone() -> None:
    table = neurons(layers=1, width=1000)
    busy = table.sort("activity", descending=True)[20:60:4].select("layer", "neuron")
    matcher = Matcher(busy, table, NOBODY)
    found = balance(matcher, [matcher.draw([seed]) for seed in range(20)])
    assert found["covariate"].to_list() == [*COVARIATES, "layer"]
    assert found["random_sets"].unique().to_list() == [20]
    row = found.filter(covariate="activity").row(0, named=True)
    everybody = matcher.standard["z_activity"].mean()
    own = matcher.standard.join(busy, on=["layer", "neuron"], how="semi")["z_activity"].mean()
    assert own - everybody > 1
    assert abs(row["standardised_difference"]) < 0.3
    assert row["target_mean"] == pytest.approx(busy.join(table, on=["layer", "neuron"])["activity"].mean())
    layer = found.filter(covariate="layer").row(0, named=True)
    assert (layer["target_mean"], layer["random_mean"], layer["standardised_difference"]) == (0, 0, 0)


def test_a_layer_that_is_too_small_is_named_and_not_filled_up() -> None:
    table = neurons(layers=2, width=10)
    target = members(*((1, n) for n in range(6)), (0, 1))
    matcher = Matcher(target, table, NOBODY)
    assert matcher.shortages == [NotEnough(layer=1, members=6, others=4)]
    found = balance(matcher, [])
    assert found["random_sets"].to_list() == [0] * 4
    assert found["random_mean"].null_count() == 4
    assert found["target_mean"].null_count() == 0


def test_neurons_that_were_never_active_are_not_drawn_and_can_be_matched() -> None:
    table = neurons(layers=1).with_columns(
        activity=pl.when(pl.col("neuron") < 100).then(0).otherwise("activity"),
        mean_score=pl.when(pl.col("neuron") >= 100).then("mean_score"),
    )
    matcher = Matcher(members((0, 3), (0, 150)), table, NOBODY)
    for seed in range(20):
        assert matcher.draw([seed])["neuron"].min() >= 100
    assert not any(matcher.standard[f"z_{name}"].is_nan().any() for name in COVARIATES)


def test_a_covariate_that_is_the_same_for_all_does_not_count() -> None:
    table = neurons(layers=1).with_columns(value_norm=pl.lit(1.0))
    matcher = Matcher(members((0, 3)), table, NOBODY)
    assert matcher.standard["z_value_norm"].unique().to_list() == [0]
    assert matcher.draw([0]).height == 1
