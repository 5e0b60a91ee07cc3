"""What charts of interventions show: read from their SVG."""

import re
from typing import Any

import pytest
from tests.report.effect_tables import balance, effect, effect_draws, effects, uncontrolled

from cotlens.report.effect_exhibits import (
    balance_figure,
    dose_figure,
    edit_failure_figure,
    effect_figure,
    loss_figure,
    rest_figure,
)
from cotlens.report.effect_rows import balance_rows, control_draw_rows, dose_rows, effect_rows, loss_rows
from cotlens.report.figure import Figure, NothingToShow
from cotlens.report.svg import ACCENT, PAPER, compact, to_svg

LABELS = {"reasoning": "reasoning (74)", "concept:add": "add (14)"}
WIDTHS = pytest.mark.parametrize("width", [356, 860])


def _rows(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return effect_rows(effects(*given), LABELS)


def _effects(*given: dict[str, Any]) -> Figure:
    rows = _rows(*given)
    return effect_figure(rows, control_draw_rows(effect_draws(*rows), rows), 0.95)


def _svg(figure: Figure, width: int = 860) -> str:
    return to_svg(figure.chart(width))


def _titles(figure: Figure, width: int = 860) -> list[str]:
    return re.findall("<title>([^<]*)</title>", compact(_svg(figure, width)))


@WIDTHS
def test_every_set_stands_beside_its_band_its_draws_and_q(width: int) -> None:
    figure = _effects(effect(), effect(target="concept:add", q_value=0.6))
    svg = _svg(figure, width)
    for text in ("reasoning (74)", "add (14)", "q 0.048", "q 0.60", "questions answered correctly (%)"):
        assert svg.count(f">{text}</text>") == 1
    points = re.findall(r'aria-roledescription="point"[^>]*? fill="([^"]+)"', svg)
    assert points == [ACCENT, PAPER]  # filled where it is sure
    assert len(re.findall(r'aria-label="[^"]*" role="graphics-symbol" aria-roledescription="bar"', svg)) == 2
    assert svg.count(' opacity="0.55"') == 40  # a tick for each random set


def test_pointing_at_a_mark_says_the_numbers() -> None:
    told = _titles(_effects(effect()))
    assert set(told) == {
        "reasoning (74), noise 1: 20.0% right, interval 10.0–30.0%; untouched 60.0%; 20 random sets 55.0%, band "
        "50.0–60.0%; p\u00a0=\u00a00.048, q\u00a0=\u00a00.048"
    }
    assert len(told) == 3  # band, line and point


def test_several_kinds_of_edit_have_a_panel_each_and_only_their_own_draws() -> None:
    figure = _effects(effect(dose=1.0), effect(dose=2.0, control_draws=3), effect(kind="zero", control_draws=4))
    svg = _svg(figure)
    assert svg.count(">noise 2</text>") == svg.count(">zero</text>") == 1
    assert ">noise 1<" not in svg
    assert svg.count(' opacity="0.55"') == 7
    assert "Of each kind of edit the strongest dose is shown" in figure.note
    assert [row[1] for row in figure.table.rows] == ["noise 2", "zero"]


def test_without_random_sets_there_is_no_band_and_no_test() -> None:
    svg = _svg(_effects(uncontrolled()))
    assert 'aria-roledescription="bar"' not in svg
    assert ">q " not in svg
    assert "no random sets" in svg


@WIDTHS
def test_a_curve_over_doses_has_its_band_and_a_panel_per_set(width: int) -> None:
    rows = _rows(*(effect(target=target, dose=dose) for target in LABELS for dose in (0.5, 1.0, 2.0)))
    svg = _svg(dose_figure(dose_rows(rows), 0.95), width)
    assert all(svg.count(f">{name}</text>") == 1 for name in LABELS.values())
    assert "dose of noise (root mean squares of each value vector)" in svg
    assert len(re.findall(r'class="mark-area', svg)) == 2
    assert len(re.findall(r'aria-roledescription="point"', svg)) == 6
    assert "noise at dose 0.5: 20.0% right" in svg


@WIDTHS
def test_losses_share_a_scale_and_have_a_panel_per_measure(width: int) -> None:
    text = effect(measure="perplexity", untouched=20.0, value=24.0, difference=0.18, random=21.0)
    text |= {"random_low": 20.5, "random_high": 21.5, "difference_low": 0.1, "difference_high": 0.3}
    figure = loss_figure(
        loss_rows(_rows(effect(), effect(measure="answered"), effect(measure="questions"), text)), 0.95
    )
    svg = _svg(figure, width)
    for name in ("right answers", "answers stated", "other questions", "perplexity of plain text"):
        assert svg.count(f">{name}</text>") == 1
    assert svg.count(">points lost</text>") == 3
    domains = set(re.findall(r"X-axis titled &#39;points lost&#39;[^\"]*|X-axis titled 'points lost'[^\"]*", svg))
    assert len(domains) == 1
    assert "+40.0 points lost" in figure_text(figure, width)
    assert [row[2] for row in figure.table.rows][-1] == "perplexity of plain text"
    assert figure.table.rows[-1][7] == "1.20×"


def figure_text(figure: Figure, width: int) -> str:
    return " ".join(_titles(figure, width))


def test_the_match_of_random_sets_is_shown_per_covariate() -> None:
    figure = balance_figure(balance_rows(balance("reasoning", difference=0.2), LABELS))
    svg = _svg(figure)
    for name in ("layer", "value norm", "mean score", "activity"):
        assert svg.count(f">{name}</text>") == 1
    assert "standardised difference 0.20" in svg


NOTHING = {
    "no set was edited": lambda: _effects(),
    "one dose": lambda: dose_figure(dose_rows(_rows(effect())), 0.95),
    "intervene.specificity is off": lambda: loss_figure(loss_rows(_rows(effect())), 0.95),
    "nothing can have been lost": lambda: loss_figure([], 0.95),
    "sufficiency": lambda: rest_figure(_rows(effect()), [], 0.95),
    "no random set was drawn": lambda: balance_figure([]),
    "no failures under an edit": lambda: edit_failure_figure([], 0.95),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_where_there_is_nothing_to_draw_it_is_said_why(reason: str) -> None:
    with pytest.raises(NothingToShow, match=f"(?i){reason}"):
        NOTHING[reason]()
