import pytest

from cotlens.analyze.repetition import ends_in_a_loop


@pytest.mark.parametrize(
    "text",
    [
        "He has 5 apples. " + "He has 5 apples. " * 4,
        "So it is " + "1 + " * 10 + "1",
        "!" * 30,
        "Ann buys pens.\nAnn buys pens.\nAnn buys pens.\nAnn buys p",
        "10" * 20 + "\n\n",
    ],
)
def test_a_unit_that_comes_again_and_again_is_a_loop(text: str) -> None:
    assert ends_in_a_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "5 + 5 = 10. 10 + 10 = 20. 20 + 20 = 40. The answer is 40.",
        "ha ha ha",
        "He had 5 apples and ate one. He had 5 apples and ate one.",
        "He has 5. " * 5 + "So the answer is 25, since five fives are that.",
        "...................... and then it stops.",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert not ends_in_a_loop(text)
