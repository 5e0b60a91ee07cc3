"""The table: ratios, goals, and what is said where a figure is missing."""

import pytest
from benchmarks.rows import HEADER, Row, compare, failed, line, table
from benchmarks.worker import Measured


def measured(seconds: float, peak: float = 100.0, others: float = 0.0) -> Measured:
    return Measured.of([{"seconds": seconds, "before_mib": 50.0, "peak_mib": peak, "others": others}])


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "sense", "ratio", "met"),
    [
        (2.0, 12.0, 5.0, "speedup", 6.0, True),
        (4.0, 12.0, 5.0, "speedup", 3.0, False),
        (1.0, 4.0, 0.5, "share", 0.25, True),
        (3.0, 4.0, 0.5, "share", 0.75, False),
        (3.0, 4.0, None, "share", 0.75, None),
        (None, 4.0, 5.0, "speedup", None, None),
        (4.0, None, 5.0, "speedup", None, None),
    ],
)
def test_a_goal_is_a_least_speedup_or_a_largest_share(ours, theirs, goal, sense, ratio, met) -> None:  # type: ignore[no-untyped-def]
    row = Row("B1", "generate", ours, "peer", theirs, goal=goal, sense=sense)
    assert (row.ratio, row.met) == (ratio, met)
    assert row.as_record()["met"] == met


def test_every_line_has_the_cells_of_the_header() -> None:
    rows = [compare("B1", "generate", measured(2), "peer", measured(12), 5.0), failed("B1", "x", None, "y", "why")]
    cells = HEADER.splitlines()[0].count("|")
    assert all(text.count("|") == cells for text in table(rows).splitlines())


def test_a_line_shows_figures_ratio_goal_and_peaks() -> None:
    text = line(compare("B1", "generate", measured(2, 900), "peer", measured(12.34, 1800), 5.0, note="same text"))
    assert text == "| B1 | generate | 2 s | peer | 12.3 s | 6.17 | >= 5: met | 900 / 1800 | same text |"
    missed = line(compare("B3", "project", measured(3), "product", measured(2), 1.25, "share"))
    assert "| 1.50 | <= 1.25: **missed** |" in missed


def test_a_peer_that_failed_is_a_row_that_says_why() -> None:
    row = compare("B1", "generate", measured(2), "peer", "no module named peer", 5.0)
    assert row.theirs is None
    assert row.note == "not measured: no module named peer"


def test_a_disturbed_measurement_is_marked() -> None:
    row = compare("B1", "generate", measured(2), "peer", measured(12, others=0.8), note="same text")
    assert row.note == "same text; DISTURBED: others used 0.8 cores"
