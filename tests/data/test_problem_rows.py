import string
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.config import FieldMapping
from cotlens.data.answers import decimal_text
from cotlens.data.problem_rows import DEFAULT_FIELDS, Row, distinct_problems, to_problem
from cotlens.errors import DataError
from cotlens.types import Problem

ALL_FIELDS = FieldMapping(question=("body", "ask"), answer="result", id="key", solution="worked")


def _problem(fields: FieldMapping = DEFAULT_FIELDS, **values: Any) -> Problem:
    return to_problem(Row("rows.csv, line 3", values), fields)


def _error(fields: FieldMapping = DEFAULT_FIELDS, **values: Any) -> str:
    with pytest.raises(DataError) as caught:
        _problem(fields, **values)
    where, _, message = str(caught.value).partition(": ")
    assert where == "rows.csv, line 3"
    assert "\n" not in message
    return message


# Questions and ids.


def test_hard_wrapped_questions_are_joined():
    assert _problem(question="How\n many  pens\tare there? ", answer=1).question == "How many pens are there?"


def test_an_id_is_the_same_on_every_machine_and_depends_on_the_question_alone():
    question = "Ann has 3 pens and buys 4. How many has she?"
    assert _problem(question=question, answer="3 + 4 = 7\n#### 7").id == "q-1f1e7d5d8c36"
    assert _problem(question=question.replace(" ", "  \n"), answer=8, more="x").id == "q-1f1e7d5d8c36"
    in_parts = {"body": "Ann has 3 pens and buys 4.", "ask": "How many has she?", "result": "7"}
    mapping = FieldMapping(question=("body", "ask"), answer="result")
    assert to_problem(Row("here", in_parts), mapping).id == "q-1f1e7d5d8c36"


@given(question=st.text(string.printable, min_size=1).filter(str.strip), blanks=st.sampled_from([" ", "\n", "\t \r\n"]))
def test_blanks_are_no_part_of_an_id(question, blanks):
    respaced = blanks + blanks.join(question.split()) + blanks
    assert _problem(question=respaced, answer=1).id == _problem(question=question, answer=1).id


def test_all_columns_may_have_names_of_their_own():
    problem = _problem(ALL_FIELDS, body="Ann has 3.", ask="And now?", result="7 (pens)", key="a/1", worked="3+4=7")
    assert problem == Problem("a/1", "Ann has 3. And now?", Decimal(7), ("3+4=7",), ("3 + 4 = 7",))


@pytest.mark.parametrize(("given", "read"), [(17, "17"), (0, "0"), ("x-1", "x-1")])
def test_an_id_is_text_or_a_whole_number(given, read):
    assert _problem(ALL_FIELDS, body="A", ask="B?", result=1, key=given, worked=None).id == read


@pytest.mark.parametrize("given", [True, 1.0, None, "", "  ", ["a"]])
def test_anything_else_is_no_id(given):
    assert _error(ALL_FIELDS, body="A", ask="B?", result=1, key=given, worked=None).startswith("field 'key' is ")


# Answers.


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (7, "7"),
        (-3, "-3"),
        (7.0, "7"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (Decimal("1234.50"), "1234.5"),
        ("7", "7"),
        (" $1,234.50 ", "1234.5"),
        ("145.0", "145"),
        ("3/4", "0.75"),
        ("1_000", "1000"),
        ("9 (apples)", "9"),
        ("15 (years old)", "15"),
        ("1.36 (dollars)", "1.36"),
        ("#### 7", "7"),
        ("One.\n#### 1\nTwo.\n#### 1,002", "1002"),
        ("He has 5 #### $7.", "7"),
    ],
)
def test_an_answer_is_read_as_the_exact_number(written, read):
    assert decimal_text(_problem(question="How many?", answer=written).gold) == read


@given(number=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4))
def test_every_number_survives_in_every_form(number):
    for written in (number, str(number), f"So it is.\n#### {number:,}", f"{number} (pens)"):
        assert _problem(question="How many?", answer=written).gold == number


BAD_ANSWERS = [
    *(
        (f"#### {text}", f"field 'answer': {text!r} after '####' is no finite number")
        for text in ("", "seven", "7 pens", "1e400", "NaN", "inf", "1/0", "2**3", "__import__('os')", "(apples)")
    ),
    *(
        (value, f"field 'answer' has no '#### NUMBER' and is no finite number: {value!r}")
        for value in ("seven", "### 7", "7 and 8", "5 (a); 15 (b)", "8 r4", "1e400", "9" * 38)
    ),
    *(
        (value, "field 'answer' has no '#### NUMBER' and is no finite number: ")
        for value in (float("nan"), float("inf"), 1e300, 10**40, Decimal("1e999999"), Decimal("NaN"))
    ),
    *((value, f"field 'answer' is not text: {value!r}") for value in (True, False, ["7"], {"a": 7})),
    *((value, "field 'answer' is empty") for value in ("", " \n", None)),
]


@pytest.mark.parametrize(("written", "complaint"), BAD_ANSWERS, ids=[repr(value)[:40] for value, _ in BAD_ANSWERS])
def test_what_is_no_single_finite_number_is_no_answer(written, complaint):
    assert _error(question="How many?", answer=written).startswith(complaint)


def test_long_values_are_cut_in_messages():
    assert len(_error(question="How many?", answer="word " * 10_000)) < 200


# Missing and wrong fields.


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"answer": 7}, "field 'question' is missing; known: answer"),
        ({"Question": "How many?", "answer": 7}, "field 'question' is missing; did you mean 'Question'?"),
        ({"question": "How many?", "anwser": 7}, "field 'answer' is missing; did you mean 'anwser'?"),
        ({"question": "", "answer": 7}, "field 'question' is empty"),
        ({"question": " \n", "answer": 7}, "field 'question' is empty"),
        ({"question": None, "answer": 7}, "field 'question' is empty"),
        ({"question": 7, "answer": 7}, "field 'question' is not text: 7"),
        ({"question": ["a"], "answer": 7}, "field 'question' is not text: ['a']"),
        ({"question": "a\0b", "answer": 7}, "field 'question' holds characters that are no text: 'a\\x00b'"),
        ({"question": "a\ud800b", "answer": 7}, "field 'question' holds characters that are no text: 'a\\ud800b'"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(values, complaint):
    assert _error(**values) == complaint


def test_every_column_of_a_question_must_be_there():
    row = {"ask": "B?", "result": 1, "key": 1, "worked": ""}
    assert _error(ALL_FIELDS, **row) == "field 'body' is missing; known: ask, key, result, worked"
    assert _error(ALL_FIELDS, body=" ", **row) == "field 'body' is empty"


@pytest.mark.parametrize(
    ("worked", "solution"),
    [(None, ()), ("", ()), ("One.\nTwo.\n", ("One.", "Two.")), (["One.", "Two."], ("One.", "Two."))],
)
def test_a_solution_is_text_or_lines_or_nothing(worked, solution):
    assert _problem(ALL_FIELDS, body="A", ask="B?", result=1, key=1, worked=worked).solution == solution


@pytest.mark.parametrize("worked", [7, [1, 2], {"a": "b"}])
def test_anything_else_is_no_solution(worked):
    message = _error(ALL_FIELDS, body="A", ask="B?", result=1, key=1, worked=worked)
    assert message.startswith("field 'worked' is neither text nor a list of lines")


# Several rows.


def test_the_order_of_rows_is_kept():
    rows = [Row(f"row {number}", {"question": f"How many of {number}?", "answer": number}) for number in range(20)]
    assert [problem.gold for problem in distinct_problems(rows, DEFAULT_FIELDS)] == list(range(20))


def test_one_bad_row_fails_all():
    rows = [Row("row 1", {"question": "One?", "answer": 1}), Row("row 2", {"question": "Two?"})]
    with pytest.raises(DataError, match="row 2"):
        distinct_problems(rows, DEFAULT_FIELDS)
