import io
import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from cotlens.config import FieldMapping, ProblemsConfig
from cotlens.data.problems import load_problems
from cotlens.errors import DataError
from cotlens.types import Problem

ROWS = [
    {"question": "Ann has 3 pens and buys 4. How many has she?", "answer": "3 + 4 = 7\n#### 7"},
    {"question": 'A café, "Zoë\'s",\nsells 2, then 5?', "answer": "2\n3\n#### 1,234.50"},
]

Write = Callable[..., Path]


def _row(question: str = "How many?", answer: str = "#### 7", **more: object) -> str:
    return json.dumps({"question": question, "answer": answer, **more})


def _csv(*rows: str) -> str:
    return "\n".join(("question,answer", *rows)) + "\n"


def _parquet(table: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(table), file)
    return file.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "problems.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _load(path: Path, **fields: Any) -> list[Problem]:
    mapping = FieldMapping(**fields) if fields else None
    return load_problems(ProblemsConfig(source=str(path), fields=mapping))


def _error(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_problems(str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# The same rows in every kind of file.

KINDS = {
    "rows.jsonl": lambda: "\n".join(map(json.dumps, ROWS)),
    "rows.json": lambda: json.dumps(ROWS, indent=1),
    "lines.json": lambda: "\n".join(map(json.dumps, ROWS)),
    "rows.CSV": lambda: _csv(*('"{question}","{answer}"'.format(**{k: v.replace('"', '""') for k, v in row.items()})
                               for row in ROWS)),
    "rows.parquet": lambda: _parquet({name: [row[name] for row in ROWS] for name in ROWS[0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_problems(write, name):
    first, second = _load(write(KINDS[name](), name))
    assert first.question == ROWS[0]["question"]
    assert first.gold == 7
    assert first.solution == first.equations == ("3 + 4 = 7",)
    assert first.id == "q-1f1e7d5d8c36"
    assert second.question == 'A café, "Zoë\'s", sells 2, then 5?'
    assert second.gold == Decimal("1234.50")
    assert second.solution == ("2", "3")


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
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", _row("One café?", "#### 1") + "\n" + _row("Two?", "#### 2") + "\n"),
        ("a.csv", _csv("One café?,1", "Two?,2")),
    ],
)
def test_the_way_a_file_was_saved_changes_nothing(write, name, text, encode):
    plain = _load(write(text, name))
    assert len(plain) == 2
    assert _load(write(encode(text), name)) == plain


def test_line_separators_within_a_question_do_not_end_the_line(write):
    path = write(json.dumps({"question": "One\u2028line\u0085only?", "answer": "#### 1"}, ensure_ascii=False))
    assert len(_load(path)) == 1


@pytest.mark.parametrize("below", ["~", "."])
def test_paths_below_home_or_here_are_found(write, monkeypatch, below):
    path = write(_row())
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.chdir(path.parent)
    assert len(load_problems(f"{below}/{path.name}")) == 1


# Bad files.


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "nowhere.jsonl"
    assert _error(path) == (
        f"{path}: no such file; give the name of a problem set, or the path of a .jsonl, .json, .csv or .parquet file"
    )


@pytest.mark.parametrize("name", ["", "folder.jsonl", "folder.parquet"])
def test_a_folder_is_not_a_file(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    assert _error(folder) == f"{folder}: a folder; give the file in it"


@pytest.mark.parametrize(("name", "kind"), [("a.txt", ".txt"), ("a.xlsx", ".xlsx"), ("problems", "such")])
def test_another_kind_of_file_is_refused_by_its_name(write, name, kind):
    path = write(_row(), name)
    assert _error(path).startswith(f"{path}: problems are not read from {kind} files; give a .jsonl")


@pytest.mark.parametrize(
    ("content", "line"), [(b"\xff\xfe\x00", 1), (b'{\n\n"question": "caf\xe9"}', 3), (b"PK\x03\x04\x80", 1)]
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_text_in_another_encoding_is_named_by_line(write, name, content, line):
    path = write(content, name)
    assert _error(path).startswith(f"{path}, line {line}: byte 0x")


@pytest.mark.parametrize("name", ["a\0b.jsonl", "x" * 300 + ".jsonl", "~nobody-of-that-name/a.jsonl"])
def test_an_impossible_file_name_is_an_error_and_no_traceback(name):
    assert _error(name)


def test_a_path_below_a_file_is_an_error(write):
    assert "can't be read" in _error(write(_row()) / "below.jsonl")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.jsonl", content) for content in ("", "\n\n", "\ufeff", "  \r\n")),
        ("a.json", "[]"),
        ("a.csv", ""),
        ("a.csv", "question,answer\n"),
        ("a.parquet", _parquet({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())})),
    ],
)
def test_a_file_without_problems_is_an_error(write, name, content):
    path = write(content, name)
    assert _error(path).startswith(f"{path}: holds no problems")


# Bad rows.

BAD_LINES = [
    ("{", "not valid JSON"),
    ("not json", "not valid JSON"),
    ('{"question": "How many?", "answer": "#### 7"', "not valid JSON"),
    ('{"question": "How many?", "answer": "#### 7",}', "not valid JSON"),
    ("'question'", "not valid JSON"),
    ('{"question": "How\0many?", "answer": "#### 7"}', "not valid JSON"),
    ("9" * 5000, "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ("[]", "expected a JSON object, got list"),
    ("7", "expected a JSON object, got int"),
    ("null", "expected a JSON object, got NoneType"),
    ("{}", "field 'question' is missing"),
    ('{"question": "How many?"}', "field 'answer' is missing"),
]


@pytest.mark.parametrize(("row", "mistake"), BAD_LINES, ids=[row[:45] for row, _ in BAD_LINES])
def test_a_bad_line_is_named_by_file_and_line(write, row, mistake):
    path = write(_row("Fine?") + "\n\n" + row + "\n" + _row("Fine too?") + "\n")
    assert _error(path).startswith(f"{path}, line 3: {mistake}")


def test_a_bad_item_of_a_list_is_named_by_row_and_bad_json_by_line(write):
    path = write(json.dumps([ROWS[0], 7]), "a.json")
    assert _error(path) == f"{path}, row 2: expected a JSON object, got int"
    path = write('[\n{"question": "How many?",\n"answer": }]', "a.json")
    assert _error(path) == f"{path}: not valid JSON (Expecting value at line 3, column 11)"


@pytest.mark.parametrize(
    ("rows", "line", "mistake"),
    [
        (["One?,1", "Two?"], 3, "1 cells under a header of 2"),
        (["One?,1", "Two?,2,3"], 3, "3 cells under a header of 2"),
        (['"One,\nor\n\nso?",1', "Two?,two"], 6, "field 'answer'"),
        (["One?,1", "", '"Two?"x,2'], 4, "not valid CSV"),
        (["One?,1", '"Two?,2'], 3, "not valid CSV (unexpected end of data)"),
        (["x" * 200_000 + ",1"], 2, "not valid CSV (field larger than field limit"),
        (["One?,1", " ,2"], 3, "field 'question' is empty"),
        (["One?,1", "Two\0?,2"], 3, "field 'question' holds characters that are no text"),
    ],
)
def test_a_bad_row_of_csv_is_named_by_the_line_where_it_begins(write, rows, line, mistake):
    path = write(_csv(*rows), "a.csv")
    assert _error(path).startswith(f"{path}, line {line}: {mistake}")


def test_a_column_of_csv_that_stands_there_twice_is_an_error(write):
    path = write("\nquestion,answer,answer\nOne?,1,2\n", "a.csv")
    assert _error(path) == f"{path}, line 2: the column 'answer' stands there twice"


def test_another_separator_shows_in_the_hint(write):
    path = write("question;answer\nOne?;1\n", "a.csv")
    assert "field 'question' is missing; did you mean 'question;answer'?" in _error(path)


def test_a_bad_row_of_parquet_is_named_by_its_number(write):
    path = write(_parquet({"question": ["One?", None], "answer": ["1", "2"]}), "a.parquet")
    assert _error(path) == f"{path}, row 2: field 'question' is empty"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"question,answer\n", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_one_line_of_error(write, content):
    path = write(content, "a.parquet")
    assert _error(path).startswith(f"{path}: not a Parquet file that can be read (")


def test_a_damaged_parquet_file_is_one_line_of_error_or_still_right(write):
    raw = _parquet({"question": [f"How many of {n}?" for n in range(40)], "answer": [float(n) for n in range(40)]})
    damage = random.Random(0)
    complaints = []
    for _ in range(200):
        damaged = bytearray(raw[: damage.randrange(len(raw))] if damage.random() < 0.3 else raw)
        for _ in range(3):
            damaged[damage.randrange(len(damaged))] = damage.randrange(256)
        try:
            load_problems(str(write(bytes(damaged), "a.parquet")))
        except DataError as error:
            complaints.append(str(error))
    assert len(complaints) > 100
    assert not any("\n" in complaint for complaint in complaints)


# Duplicates.


@pytest.mark.parametrize("again", ["How many?", " How  many? "])
@pytest.mark.parametrize("answer", ["#### 7", "#### 8"])
def test_a_question_that_stands_there_twice_is_named_by_both_lines(write, again, answer):
    path = write(_row("How many?", "#### 7") + "\n" + _row("Other?") + "\n" + _row(again, answer) + "\n")
    assert _error(path) == f"{path}, line 3: the question 'How many?' stands there twice, first in {path}, line 1"


def test_an_id_that_stands_there_twice_is_named_by_both_lines(write):
    path = write(_row("One?", n=1) + "\n" + _row("Two?", n="1"))
    with pytest.raises(DataError) as caught:
        _load(path, question="question", answer="answer", id="n")
    assert str(caught.value) == f"{path}, line 2: the id '1' stands there twice, first in {path}, line 1"
