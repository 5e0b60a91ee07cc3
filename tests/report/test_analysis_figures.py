"""What charts show: read from their SVG."""

import re
from typing import Any

import pytest

from cotlens.report.analysis_figures import correctness_chart, difference_chart, failure_chart
from cotlens.report.svg import to_svg


def _difference(variant: str, contrast: str, sure: bool, label: str = "add") -> dict[str, Any]:
    return {
        "variant": variant, "label": label, "contrast": contrast, "difference": 0.02, "low": 0.01, "high": 0.03,
        "random_low": -0.01, "random_high": 0.01, "sure": sure, "reference": "cot", "p_value": 0.02, "q_value": 0.04,
    }  # fmt: skip


def _points(svg: str) -> list[tuple[str, str]]:
    """Fill and shape of every point: a circle is drawn by arcs, a diamond by lines."""
    groups = re.findall(r'<g class="mark-symbol.*?</g>', svg)
    found = [re.findall(r'd="([^"]+)"[^>]*? fill="([^"]+)"', group) for group in groups]
    return [("circle" if "A" in path else "diamond", fill) for group in found for path, fill in group]


def test_a_point_is_filled_where_it_is_sure_and_its_shape_tells_the_contrast() -> None:
    rows = [_difference("text_only", "free", True), _difference("text_only", "forced", False)]
    points = _points(to_svg(difference_chart(rows, 356)))
    assert points == [("circle", "#0072b1"), ("diamond", "#fefefe")]


def test_the_share_of_the_text_has_no_point() -> None:
    rows = [_difference("text_only", "free", True), _difference("text_only", "text", True)]
    assert len(_points(to_svg(difference_chart(rows, 356)))) == 1


@pytest.mark.parametrize("width", [356, 860])
def test_every_variant_has_a_panel_or_a_line(width: int) -> None:
    for variants in (["a_b", "c_d"], [f"variant_{n}" for n in range(6)]):
        svg = to_svg(difference_chart([_difference(name, "free", True) for name in variants], width))
        assert all(svg.count(f">{name}</text>") == 1 for name in variants)


def _area(variant: str) -> dict[str, Any]:
    return {
        "variant": variant, "label": "add", "auc": 0.7, "auc_low": 0.6, "auc_high": None,
        "random_auc_low": 0.4, "random_auc_high": 0.6,
    }  # fmt: skip


def test_a_narrow_chart_of_areas_shows_all_variants_together() -> None:
    rows = [_area("all variants"), _area("cot")]
    assert "cot" in to_svg(correctness_chart(rows, 860))
    narrow = to_svg(correctness_chart(rows, 356))
    assert "all variants" in narrow
    assert ">cot<" not in narrow


def test_shares_shifts_and_frames_stand_in_their_cells() -> None:
    known = {"kind_name": "correct", "completions": 50, "low": 0.3, "high": 0.6, "p_value": 0.5, "q_value": 0.5}
    known |= {"difference_low": -0.2, "difference_high": 0.1}
    rows = [
        known | {"condition": "cot", "share": 0.5, "difference": None, "sure": False},
        known | {"condition": "text_only", "share": 0.36, "difference": -0.14, "sure": True},
        known | {"condition": "zero_shot", "share": 0.5, "difference": 0.001, "sure": False},
    ]
    svg = to_svg(failure_chart(rows, 860))
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"50%", "36%", "−14", "±0"} <= set(texts)
    assert len(re.findall(r'stroke="#1b1f24"', svg)) == 1
