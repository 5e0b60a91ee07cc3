import pytest

from cotlens.errors import InputError
from cotlens.judge import Question, make_judge
from cotlens.judge.words import normalise


def ask(*tokens: str):
    words = frozenset({"plus", "add", "+"})
    return make_judge("lexicon").ask(Question("add", "Do these tokens express addition?", words, tokens))


@pytest.mark.parametrize(
    ("token", "word"), [(" Plus", "plus"), ("\n+", "+"), ('="', "="), ("“add”", "add"), ("ADD", "add"), ("+ 1", "+ 1")]
)
def test_case_spaces_and_quotes_do_not_make_another_word(token: str, word: str) -> None:
    assert normalise(token) == word


def test_a_fifth_of_the_tokens_is_enough() -> None:
    assert ask(" plus", "x", "y", "z", "w").verdict is True
    assert ask(" plus", "x", "y", "z", "w", "v").verdict is False


def test_every_spelling_of_a_word_counts() -> None:
    assert ask(*([" add", "add", "Add", " ADD"] + ["x"] * 16)).verdict is True
    assert ask(*([" add", "add", "Add"] + ["x"] * 17)).verdict is False


def test_a_word_within_a_word_does_not_count() -> None:
    assert ask(" addle", "plush", "x").verdict is False


def test_the_reason_says_what_was_found() -> None:
    reply = ask(" plus", "Add", "x", "y")
    assert reply.status == "ok"
    assert reply.reason == "2 of 4 tokens are words of 'add': plus, add"
    assert reply.cost_usd == 0


def test_an_unknown_judge_is_named_with_its_neighbour() -> None:
    with pytest.raises(InputError, match="judge 'lexikon' is not known; did you mean 'lexicon'"):
        make_judge("lexikon")
