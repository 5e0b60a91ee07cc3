import pytest

from cotlens.report.walkthrough import token_pieces

KNOWN = {1: "The", 2: " sum", 3: " is", 4: " 5"}


@pytest.mark.parametrize(
    ("text", "ids", "expected"),
    [
        ("The sum is 5", [1, 2, 3, 4], ["The", " sum", " is", " 5"]),
        ("The total is 5", [1, 9, 3, 4], ["The", " total", " is", " 5"]),
        ("The sum is 12", [1, 2, 3, 9], ["The", " sum", " is", " 12"]),
        ("The grand total is 5", [1, 8, 9, 3, 4], ["The", " grand total", "", " is", " 5"]),
        ("sum is 5", [2, 3, 4], ["sum", " is", " 5"]),  # a tokenizer that drops the first space
        ("The sum", [1, 2, 3, 9], ["The", " sum", " is", ""]),  # the text ends at a stop string
        ("Something else", [1, 2], ["The", " sum"]),  # not the text of these tokens
        ("", [1, 9], ["The", ""]),
        ("", [], []),
    ],
)
def test_each_token_gets_its_text(text: str, ids: list[int], expected: list[str]) -> None:
    assert token_pieces(text, ids, KNOWN) == expected
