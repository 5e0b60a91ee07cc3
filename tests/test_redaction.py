import pytest

from cotlens.redaction import hide_user_info, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:secret@host/v1", "http://***@host/v1"),
        ("got 'https://me:se/cr@et@host'; no", "got 'https://***@host'; no"),
        ("http://host/v1: no connection", "http://host/v1: no connection"),
        ("mail me@host", "mail me@host"),
        ("a http://u:p@h\nb http://u:p@h", "a http://***@h\nb http://***@h"),
    ],
)
def test_user_and_password_of_a_url_are_hidden(text: str, expected: str) -> None:
    assert hide_user_info(text) == expected


def test_what_is_shown_is_one_printable_line_without_the_secret() -> None:
    assert shown("bad\x1b[31m key\n sk-1, \u202e sk-1", "sk-1") == "bad [31m key ***, ***"
    assert shown("plain", None) == "plain"


def test_a_long_text_is_cut_after_the_secret_is_gone() -> None:
    text = shown("x" * 295 + "secret" * 9, "secret")
    assert len(text) == 300
    assert text.endswith("x**...")
