import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from cotlens.data.arithmetic import evaluate
from cotlens.data.problems import load_problems
from cotlens.errors import DataError

MINI = load_problems()
GOOD_ROW = {"question": "Ann has 3 pens and buys 4. How many has she?", "answer": "3 + 4 = 7\n#### 7"}


def _row(question: str = "How many?", answer: str = "#### 7", **more: object) -> str:
    return json.dumps({"question": question, "answer": answer, **more})


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "problems.jsonl"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _error(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_problems(str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# The bundled set.


def test_mini_is_the_default_and_has_at_least_200_problems():
    assert load_problems("mini") == MINI
    assert len(MINI) >= 200


def test_mini_ids_and_questions_are_unique():
    assert len({problem.id for problem in MINI}) == len(MINI)
    assert len({problem.question for problem in MINI}) == len(MINI)


def test_mini_solutions_have_one_to_three_steps_and_every_length_occurs():
    assert {len(problem.solution) for problem in MINI} == {1, 2, 3}


def test_mini_uses_all_four_operators():
    assert set("+-*/") <= set(" ".join(" ".join(problem.solution) for problem in MINI))


@pytest.mark.parametrize("problem", MINI, ids=lambda problem: problem.id)
def test_every_equation_of_mini_is_exact_and_the_last_gives_the_answer(problem):
    for equation in problem.solution:
        expression, result = equation.split(" = ")
        assert evaluate(expression) == evaluate(result)
    assert evaluate(problem.solution[-1].split(" = ")[1]) == problem.gold


def test_numbers_of_mini_solutions_come_from_the_question_or_an_earlier_step():
    counting = "one two three four five six seven eight nine ten eleven twelve"
    in_words = {word: number for number, word in enumerate(counting.split(), start=1)}
    in_words |= {"pair": 2, "pairs": 2, "half": 2, "twice": 2, "week": 7, "dozen": 12}
    strangers = []
    for problem in MINI:
        words = re.findall(r"\d+(?:\.\d+)?|[a-z]+", problem.question.lower().replace(",", ""))
        known = {Decimal(in_words.get(word, word)) for word in words if word in in_words or word[0].isdigit()}
        for equation in problem.solution:
            expression, result = equation.split(" = ")
            used = {Decimal(number) for number in re.findall(r"\d+(?:\.\d+)?", expression)}
            strangers += [f"{problem.id}: {number}" for number in used - known]
            known.add(Decimal(result))
    assert strangers == []


def test_mini_questions_are_tidy():
    for problem in MINI:
        assert problem.question == " ".join(problem.question.split())
        assert problem.question.endswith(("?", "."))


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (7, 7), (None, len(MINI)), (10**6, len(MINI))])
def test_limit_takes_the_first_so_many(limit, count):
    assert load_problems("mini", limit) == MINI[:count]


# Files in GSM8K's format.


def test_a_good_file_gives_its_problems_in_order(write):
    path = write(json.dumps(GOOD_ROW) + "\n" + _row("A second?", "First 2.\nThen 5.\n#### 1,234.50", note="x") + "\n")
    first, second = load_problems(str(path))
    assert first.question == GOOD_ROW["question"]
    assert first.gold == 7
    assert first.solution == ("3 + 4 = 7",)
    assert second.gold == Decimal("1234.50")
    assert second.solution == ("First 2.", "Then 5.")


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\n\n  \n").encode(),
        lambda text: ("\n" + text).encode(),
        lambda text: text.rstrip("\n").encode(),
    ],
    ids=["BOM", "CRLF", "blank lines", "blank first line", "no newline at the end"],
)
def test_the_way_a_file_was_saved_changes_nothing(write, encode):
    text = _row("One café?", "#### 1") + "\n" + _row("Two?", "#### 2") + "\n"
    plain = load_problems(str(write(text)))
    assert len(plain) == 2
    assert load_problems(str(write(encode(text)))) == plain


def test_line_separators_within_a_question_do_not_end_the_line(write):
    path = write(json.dumps({"question": "One\u2028line\u0085only?", "answer": "#### 1"}, ensure_ascii=False))
    assert len(load_problems(str(path))) == 1


def test_hard_wrapped_questions_are_joined(write):
    (problem,) = load_problems(str(write(_row("How\n many  pens\tare there? "))))
    assert problem.question == "How many pens are there?"


@pytest.mark.parametrize(
    ("final", "gold"),
    [
        ("18", "18"), ("-3", "-3"), ("\u22123", "-3"), ("$1,234.50", "1234.50"), ("18.", "18"), ("18,", "18"),
        (" 18 \n", "18"), ("0", "0"), ("2/4", "0.5"), ("10%", "10"),
    ],
)  # fmt: skip
def test_gold_answers_are_exact(write, final, gold):
    (problem,) = load_problems(str(write(_row(answer=f"text\n#### {final}"))))
    assert problem.gold == Decimal(gold)


def test_only_the_last_mark_counts(write):
    (problem,) = load_problems(str(write(_row(answer="a #### 3\n#### 4"))))
    assert problem.gold == 4


def test_limit_holds_for_files_too(write):
    path = write("\n".join(_row(f"Question {number}?") for number in range(5)))
    assert [problem.question for problem in load_problems(str(path), 2)] == ["Question 0?", "Question 1?"]


def test_a_home_folder_is_found(write, monkeypatch):
    path = write(_row())
    monkeypatch.setenv("HOME", str(path.parent))
    assert len(load_problems(f"~/{path.name}")) == 1


def test_ids_depend_on_the_question_alone(write):
    rows = [_row(f"How many of {number}?", f"#### {number}") for number in range(20)]
    forward = {p.question: p.id for p in load_problems(str(write("\n".join(rows))))}
    backward = {p.question: p.id for p in load_problems(str(write("\n".join(reversed(rows)))))}
    assert forward == backward
    assert len(set(forward.values())) == 20
    (alone,) = load_problems(str(write(_row("How  many of\n7?", "another solution #### 8"))))
    assert alone.id == forward["How many of 7?"]


def test_an_id_is_the_same_on_every_machine(write):
    (problem,) = load_problems(str(write(json.dumps(GOOD_ROW))))
    assert problem.id == "q-1f1e7d5d8c36"


BAD_ROWS = [
    ("{", "not valid JSON"),
    ("not json", "not valid JSON"),
    ('{"question": "How many?", "answer": "#### 7"', "not valid JSON"),
    ('{"question": "How many?", "answer": "#### 7",}', "not valid JSON"),
    ("'question'", "not valid JSON"),
    ("9" * 5000, "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ("[]", "expected an object with 'question' and 'answer', got list"),
    ("7", "expected an object with 'question' and 'answer', got int"),
    ("null", "expected an object with 'question' and 'answer', got NoneType"),
    ("{}", "field 'question' is missing, empty or not text"),
    ('{"answer": "#### 7"}', "field 'question' is missing, empty or not text"),
    ('{"question": "How many?"}', "field 'answer' is missing, empty or not text"),
    ('{"question": "", "answer": "#### 7"}', "field 'question' is missing, empty or not text"),
    ('{"question": " \\n", "answer": "#### 7"}', "field 'question' is missing, empty or not text"),
    ('{"question": null, "answer": "#### 7"}', "field 'question' is missing, empty or not text"),
    ('{"question": ["a"], "answer": "#### 7"}', "field 'question' is missing, empty or not text"),
    ('{"question": "How many?", "answer": 7}', "field 'answer' is missing, empty or not text"),
    ('{"question": "How many?", "answer": "7"}', "field 'answer' has no '#### NUMBER'"),
    ('{"question": "How many?", "answer": "### 7"}', "field 'answer' has no '#### NUMBER'"),
    ('{"question": "How many?", "answer": "####"}', "'' after '####' is no finite number"),
    ('{"question": "How many?", "answer": "#### seven"}', "'seven' after '####' is no finite number"),
    ('{"question": "How many?", "answer": "#### 7 pens"}', "'7 pens' after '####' is no finite number"),
    ('{"question": "How many?", "answer": "#### 1e400"}', "'1e400' after '####' is no finite number"),
    ('{"question": "How many?", "answer": "#### NaN"}', "'NaN' after '####' is no finite number"),
    ('{"question": "How many?", "answer": "#### 1/0"}', "'1/0' after '####' is no finite number"),
    ('{"question": "How many?", "answer": "#### 2**3"}', "'2**3' after '####' is no finite number"),
]


@pytest.mark.parametrize(("row", "mistake"), BAD_ROWS, ids=[row[:45] for row, _ in BAD_ROWS])
def test_a_bad_row_is_named_by_file_and_line(write, row, mistake):
    path = write(_row("Fine?") + "\n\n" + row + "\n" + _row("Fine too?") + "\n")
    assert _error(path).startswith(f"{path}, line 3: {mistake}")


def test_a_bad_row_beyond_the_limit_is_found_as_well(write):
    with pytest.raises(DataError, match="line 2"):
        load_problems(str(write(_row("Fine?") + "\n{")), limit=1)


@pytest.mark.parametrize("again", ["How many?", " How  many? "])
def test_a_question_that_stands_there_twice_is_named_by_file_and_line(write, again):
    path = write(_row("How many?", "#### 7") + "\n" + _row("Other?") + "\n" + _row(again, "#### 8") + "\n")
    assert _error(path) == f"{path}, line 3: the question 'How many?' stands there twice; remove one"


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "  \r\n"])
def test_a_file_without_problems_is_an_error(write, content):
    path = write(content)
    assert _error(path).startswith(f"{path}: holds no problems")


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "nowhere.jsonl"
    assert _error(path) == f"{path}: no such file; give 'mini' or the path of a JSONL file"


def test_a_folder_is_not_a_file(tmp_path):
    assert _error(tmp_path) == f"{tmp_path}: a folder; give the JSONL file in it"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"question": "caf\xe9"}', b"PK\x03\x04\x80"])
def test_a_file_in_another_encoding_is_named(write, content):
    path = write(content)
    assert _error(path).startswith(f"{path}: can't be read as UTF-8 text")


@pytest.mark.parametrize("name", ["a\0b.jsonl", "x" * 300 + ".jsonl"])
def test_an_impossible_file_name_is_an_error_and_no_traceback(name):
    assert "can't be read" in _error(name)


def test_a_path_below_a_file_is_an_error(write):
    assert "can't be read" in _error(write(_row()) / "below.jsonl")
