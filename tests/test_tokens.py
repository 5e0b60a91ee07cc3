import pytest

from cotlens.tokens import printable, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" plus", "␣plus"),
        ("\n\n", "↵↵"),
        ("\t", "⇥"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("\x00", "\\x00"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\xa0", "\\xa0"),
        ("\u3000a", "\\u3000a"),
        ("naïve 数", "naïve␣数"),
        ("<b>", "<b>"),
    ],
)
def test_what_can_not_be_seen_is_shown(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_long_texts_are_cut() -> None:
    assert visible("x" * 100_000) == "x" * 23 + "…"
    assert visible("abcdef", most=4) == "abc…"


def test_a_printable_text_keeps_its_spaces_and_lines() -> None:
    assert printable("a b\n\tc \x1b[0m\r\u202e") == "a b\n\tc \\x1b[0m\\x0d\\u202e"
