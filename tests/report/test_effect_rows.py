import math

import pytest
from tests.report.effect_tables import effect, effect_draws, effects, uncontrolled

from cotlens.report.effect_rows import (
    control_draw_rows,
    dose_rows,
    edit_failure_rows,
    effect_rows,
    loss_rows,
    main_effects,
)

NAMES = {"reasoning": "reasoning", "concept:add": "add"}


def test_an_effect_is_sure_by_its_corrected_p_value_alone() -> None:
    sure, unsure, untested = effect_rows(
        effects(effect(dose=1.0), effect(dose=2.0, p_value=0.01, q_value=0.06), uncontrolled(dose=3.0)), NAMES
    )
    assert (sure["sure"], unsure["sure"], untested["sure"]) == (True, False, False)
    assert (sure["set"], sure["edit"]) == ("reasoning", "noise 1")


def test_sets_stand_in_their_order_and_edits_by_kind_and_dose() -> None:
    table = effects(
        effect(target="concept:add"), effect(kind="zero"), effect(dose=4.0), effect(dose=2.0), effect(target="gone")
    )
    rows = effect_rows(table, NAMES)
    assert [(row["set"], row["edit"]) for row in rows] == [
        ("reasoning", "noise 2"), ("reasoning", "noise 4"), ("reasoning", "zero"), ("add", "noise 1"),
    ]  # fmt: skip


def test_the_strongest_dose_of_each_kind_and_scope_stands_for_it() -> None:
    table = effects(
        effect(dose=0.5), effect(dose=2.0), effect(kind="scale", dose=0.0), effect(kind="scale", dose=1.5),
        effect(scope="rest", dose=0.5),
    )  # fmt: skip
    rows = effect_rows(table, NAMES)
    assert [row["edit"] for row in main_effects(rows)] == ["noise 2", "scale ×0"]
    assert [row["edit"] for row in main_effects(rows, "rest")] == ["noise 0.5"]


def test_random_sets_go_by_the_name_of_the_set_that_they_match() -> None:
    rows = effect_rows(effects(effect(control_draws=3), effect(scope="rest", control_draws=2)), NAMES)
    draws = control_draw_rows(effect_draws(*rows), rows)
    assert [row["accuracy"] for row in draws if row["scope"] == "set"] == pytest.approx([0.5, 0.55, 0.6])
    assert len(draws) == 5


def test_a_curve_needs_two_doses_and_a_panel_says_the_kind_where_there_are_several() -> None:
    one = effect_rows(effects(effect(), effect(kind="zero")), NAMES)
    assert dose_rows(one) == []
    noise = effect_rows(effects(effect(dose=1.0), effect(dose=2.0), effect(kind="zero")), NAMES)
    assert [row["panel"] for row in dose_rows(noise)] == ["reasoning", "reasoning"]
    both = effect_rows(
        effects(*(effect(kind=kind, dose=dose) for kind in ("noise", "zero") for dose in (0.5, 1))), NAMES
    )
    assert [row["panel"] for row in dose_rows(both)][::2] == ["reasoning, noise", "reasoning, zero"]


def test_what_is_lost_grows_with_harm_in_every_measure() -> None:
    perplexity = effect(
        measure="perplexity", untouched=20.0, value=30.0, difference=math.log(1.5), difference_low=math.log(1.2),
        difference_high=math.log(1.8), random=22.0, random_low=20.0, random_high=24.0,
    )  # fmt: skip
    answers, text = loss_rows(effect_rows(effects(perplexity, effect()), NAMES))
    assert answers["loss"] == pytest.approx(0.4)
    assert (answers["loss_low"], answers["loss_high"]) == pytest.approx((0.3, 0.5))
    assert (answers["random_loss_low"], answers["random_loss_high"]) == pytest.approx((0.0, 0.1))
    assert text["loss"] == pytest.approx(1.5)
    assert (text["loss_low"], text["loss_high"]) == pytest.approx((1.2, 1.8))
    assert (text["random_loss_low"], text["random_loss_high"]) == pytest.approx((1.0, 1.2))


def test_losses_without_random_sets_have_no_band() -> None:
    [row] = loss_rows(effect_rows(effects(uncontrolled()), NAMES))
    assert row["loss"] == pytest.approx(0.4)
    assert row["random_loss_low"] is None


def _shares(*conditions: tuple[str, str | None, str | None, str, float]) -> list[dict[str, object]]:
    names = ("set", "target", "scope", "kind", "dose")
    return [
        dict(zip(names, condition, strict=True)) | {"class": kind, "share": 0.5, "difference": None, "q_value": None}
        for condition in conditions
        for kind in ("wrong_plan", "correct")
    ]


def _failure_rows(*conditions: tuple[str, str | None, str | None, str, float]) -> list[dict[str, object]]:
    import polars as pl

    types = {"difference": pl.Float64, "q_value": pl.Float64, "target": pl.String, "scope": pl.String}
    return edit_failure_rows(pl.DataFrame(_shares(*conditions), schema_overrides=types), NAMES)


def test_failures_stand_beside_those_of_the_random_sets() -> None:
    rows = _failure_rows(
        ("random", "reasoning", "set", "noise", 1.0), ("concept:add", "concept:add", "set", "noise", 1.0),
        ("none", None, None, "none", 0.0), ("reasoning", "reasoning", "set", "noise", 1.0),
    )  # fmt: skip
    assert [row["condition"] for row in rows][::2] == ["untouched", "reasoning", "random, as reasoning", "add"]
    assert [row["class"] for row in rows][:2] == ["correct", "wrong_plan"]
    assert all(row["main"] for row in rows)


def test_the_figure_shows_failures_under_the_strongest_dose_and_the_table_all() -> None:
    rows = _failure_rows(
        ("none", None, None, "none", 0.0), ("reasoning", "reasoning", "set", "noise", 1.0),
        ("reasoning", "reasoning", "set", "noise", 2.0), ("reasoning", "reasoning", "rest", "noise", 2.0),
    )  # fmt: skip
    assert [(row["condition"], row["main"]) for row in rows][::2] == [
        ("untouched", True), ("reasoning, noise 1", False), ("reasoning, noise 2", True),
        ("all but reasoning, noise 2", False),
    ]  # fmt: skip
