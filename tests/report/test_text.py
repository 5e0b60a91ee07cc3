import pytest

from cotlens.report.text import count, decimal, duration, joined, p_text, percent, readable, span

NAN = float("nan")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.025), "2.5%"),
        (percent(None), "–"),
        (percent(NAN), "–"),
        (span(0.0131, 0.0143, 2), "1.31–1.43%"),
        (span(NAN, 0.5), "–"),
        (decimal(1234.5, 1), "1,234.5"),
        (decimal(float("inf")), "–"),
        (count(1, "neuron"), "1 neuron"),
        (count(36134, "neuron"), "36,134 neurons"),
        (count(None), "–"),
        (count(None, "neuron"), "– neurons"),
        (duration(59.6), "1 min 0 s"),
        (duration(12_000), "3 h 20 min"),
        (joined([]), "none"),
        (joined(["a", "b", "c"]), "a, b and c"),
        (p_text(0.8333), "p\u00a0=\u00a00.83"),
        (p_text(1.0), "p\u00a0=\u00a01.00"),
        (p_text(1 / 101), "p\u00a0=\u00a00.0099"),
    ],
)
def test_numbers_are_shown_as(shown: str, expected: str) -> None:
    assert shown == expected


def test_readable_keeps_lines_and_shows_what_hides() -> None:
    assert readable("two words\nand a\tthird") == "two words\nand a⇥third"
    assert readable("\x1b[31m\u202e\x00") == "\\x1b[31m\\u202e\\x00"
    assert readable("x" * 100, most=10) == "x" * 9 + "…"
