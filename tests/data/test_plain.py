"""The bundled passages and questions without arithmetic, and a user's own text."""

import re
from collections import Counter
from pathlib import Path

import pytest

from cotlens.data.plain import BUNDLED, PlainText, load_plain_questions, load_plain_texts
from cotlens.errors import ConfigError, DataError

TEXTS = load_plain_texts()
QUESTIONS = load_plain_questions()

ARITHMETIC = set(
    """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million
    dozen zero once twice thrice second third fourth fifth half halves quarter double triple pair couple number numbers
    count counts counted digit digits add adds added sum sums plus minus subtract subtracted times multiply multiplied
    divide divided equals equal equally total totals altogether percent fraction average remainder calculate formula
    equation""".split()
)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _all_text() -> list[str]:
    return [text.text for text in TEXTS] + [" ".join((q.question, *q.options)) for q in QUESTIONS]


def test_there_are_forty_passages_of_sixty_to_a_hundred_and_twenty_words():
    assert len(TEXTS) == 40
    assert all(60 <= len(_words(passage.text)) <= 120 for passage in TEXTS)


def test_there_are_at_least_a_hundred_questions_of_four_different_options():
    assert len(QUESTIONS) >= 100
    assert all(len(set(question.options)) == 4 and 0 <= question.right < 4 for question in QUESTIONS)


@pytest.mark.parametrize("items", [TEXTS, QUESTIONS], ids=["texts", "questions"])
def test_ids_and_contents_stand_there_once(items):
    assert len({item.id for item in items}) == len(items)
    assert len({getattr(item, "text", None) or item.question for item in items}) == len(items)


def test_no_text_has_a_digit_a_sign_of_arithmetic_or_a_word_of_it():
    for text in _all_text():
        assert not re.search(r"[\d+*/=×÷%$€£<>]", text), text
        assert not ARITHMETIC & set(_words(text)), text


def test_the_words_of_arithmetic_would_be_found():
    assert ARITHMETIC & set(_words("She has seven apples."))


def test_passages_are_one_line_of_sentences():
    assert all(re.fullmatch(r"[\"A-Z].*[.!?\"]", passage.text) for passage in TEXTS)


def test_the_right_option_stands_at_every_place_alike():
    counts = Counter(question.right for question in QUESTIONS)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_right_option_is_not_told_by_its_length():
    alone = {"shortest": 0, "longest": 0}
    for question in QUESTIONS:
        lengths = [len(option) for option in question.options]
        right = lengths.pop(question.right)
        alone["shortest"] += right < min(lengths)
        alone["longest"] += right > max(lengths)
    assert max(alone.values()) < 0.35 * len(QUESTIONS), alone


def test_no_question_says_its_answer():
    for question in QUESTIONS:
        answer = set(_words(question.options[question.right])) - {"it", "on"}
        assert not answer & set(_words(question.question)), question


def test_an_option_follows_its_prompt_after_a_space():
    question = next(question for question in QUESTIONS if question.question == "What do bees make?")
    assert question.prompt == "Question: What do bees make?\nAnswer:"
    assert question.options[question.right] == "honey"


def test_a_limit_takes_the_first():
    assert load_plain_texts(limit=3) == TEXTS[:3]
    assert load_plain_questions(limit=5) == QUESTIONS[:5]
    assert load_plain_texts(BUNDLED) == TEXTS


@pytest.mark.parametrize("load", [load_plain_texts, load_plain_questions])
def test_a_limit_below_1_is_refused(load):
    with pytest.raises(ConfigError, match="is 0; give 1 or more"):
        load(limit=0)


def test_the_paragraphs_of_a_file_are_passages(tmp_path: Path):
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeff\nThe first,\r\nin two lines.\r\n  \r\n\r\nThe other.\r\n".encode())
    assert load_plain_texts(path) == [
        PlainText("text-01", "The first, in two lines."),
        PlainText("text-02", "The other."),
    ]
    assert load_plain_texts(str(path), limit=1) == [PlainText("text-01", "The first, in two lines.")]


@pytest.mark.parametrize("text", ["", "\n \n\n"])
def test_a_file_without_text_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "own.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"own\.txt: holds no text; give paragraphs"):
        load_plain_texts(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        load_plain_texts(tmp_path / "gone.txt")
