import polars as pl

from cotlens.analyze.controls import draw_matched, signed_pool

NEURONS = pl.DataFrame(
    {
        "layer": [0] * 30 + [1] * 30,
        "neuron": [*range(30), *range(30)],
        "hits_positive": [1] * 45 + [0] * 15,
        "hits_negative": [0] * 10 + [1] * 50,
    },
    schema_overrides={"layer": pl.Int32, "neuron": pl.Int32},
)
TARGET = pl.DataFrame(
    {"layer": [0, 0, 0, 1], "neuron": [3, 12, 12, 40], "sign": [1, 1, -1, -1]},
    schema={"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8},
)


def test_the_pool_holds_each_sign_that_was_seen_and_no_excluded_neuron() -> None:
    pool = signed_pool(NEURONS, TARGET)
    rows = set(pool.rows())
    assert (0, 5, 1) in rows
    assert (0, 5, -1) not in rows, "was never negative"
    assert not {(layer, neuron) for layer, neuron, _ in rows} & {(0, 3), (0, 12)}


def test_a_draw_has_as_many_per_layer_and_sign_without_repeats() -> None:
    pool = signed_pool(NEURONS, TARGET)
    for seed in range(20):
        drawn = draw_matched(pool, TARGET, seed)
        assert drawn.unique().height == drawn.height == 4
        assert sorted(drawn.select("layer", "sign").rows()) == sorted(TARGET.select("layer", "sign").rows())
        assert set(drawn.rows()) <= set(pool.rows())


def test_draws_differ_by_seed_and_repeat_with_it() -> None:
    pool = signed_pool(NEURONS, TARGET)
    assert draw_matched(pool, TARGET, [1, 2]).equals(draw_matched(pool, TARGET, [1, 2]))
    assert len({tuple(draw_matched(pool, TARGET, seed).rows()) for seed in range(20)}) > 15


def test_a_pool_that_is_too_small_gives_all_it_has() -> None:
    pool = pl.DataFrame({"layer": [0], "neuron": [9], "sign": [1]}, schema=TARGET.schema)
    assert draw_matched(pool, TARGET, 0).rows() == [(0, 9, 1)]


def test_an_empty_target_gives_an_empty_draw() -> None:
    pool = signed_pool(NEURONS, TARGET)
    assert draw_matched(pool, TARGET.clear(), 0).is_empty()
