import json
import logging
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cotlens.config import FieldMapping, ProblemsConfig, RunConfig, load_config
from cotlens.data.arithmetic import evaluate
from cotlens.data.problems import load_problems
from cotlens.data.solutions import used_operators
from cotlens.errors import ConfigError, CotlensError, DataError
from cotlens.pipeline import validate

MINI = load_problems()
DOCS = Path(__file__).parents[2] / "docs/problems.md"

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file of rows, each a question and the answer's text."""

    def write(*rows: tuple[str, str]) -> str:
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows))
        return str(path)

    return write


def _error(**settings: Any) -> str:
    with pytest.raises(CotlensError) as caught:
        load_problems(ProblemsConfig(**settings))
    message = str(caught.value)
    assert "\n" not in message
    return message


STEPS = (
    ("One step?", "<<1+2=3>>\n#### 3"),
    ("Two steps?", "<<6/2=3>> and <<3*2=6>>\n#### 6"),
    ("Three steps?", "<<9-2=7>> <<7+1=8>> <<8-1=7>>\n#### 7"),
    ("No steps?", "So it is seven.\n#### 7"),
)


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


def test_every_step_of_mini_is_an_equation():
    for problem in MINI:
        assert problem.equations == problem.solution


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(ConfigError, match=f"the limit of problems is {limit}; give 1 or more"):
        load_problems("mini", limit)


def test_the_limit_given_is_stronger_than_the_one_in_the_settings():
    assert load_problems(ProblemsConfig(limit=5)) == MINI[:5]
    assert load_problems(ProblemsConfig(limit=5), limit=2) == MINI[:2]


# Sources.


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gsm8", "did you mean 'gsm8k'?"),
        ("Mini", "did you mean 'mini'?"),
        ("zzz", "known: asdiv, gsm8k, mini,"),
        ("", ""),
    ],
)
def test_a_name_that_is_no_problem_set_gets_the_nearest_one(name, hint):
    message = _error(source=name)
    assert message.startswith(f"{name!r} is no problem set")
    assert hint in message


def test_a_file_of_no_problems_is_an_error(write):
    path = write()
    assert _error(source=path) == f"{path}: holds no problems; give one with a question and an answer in each row"


def test_a_plain_path_and_settings_without_more_give_the_same(write):
    path = write(*STEPS)
    assert load_problems(path) == load_problems(ProblemsConfig(source=path))
    assert [problem.gold for problem in load_problems(path)] == [3, 6, 7, 7]


def test_a_bad_row_beyond_the_limit_is_found_as_well(write):
    path = write(("Fine?", "#### 1"), ("Not fine?", "####"))
    with pytest.raises(DataError, match="line 2"):
        load_problems(path, limit=1)


@pytest.mark.parametrize("source", ["mini", "file"])
@pytest.mark.parametrize(("setting", "value"), [("split", "train"), ("revision", "main")])
def test_settings_of_hub_sources_are_refused_for_others(write, source, setting, value):
    name = write(*STEPS) if source == "file" else source
    message = _error(source=name, **{setting: value})
    assert message.startswith(f"problems.{setting} is {value!r}, and {name!r} is no hub source; remove it")


@pytest.mark.parametrize("source", ["mini", "gsm8k"])
def test_columns_are_named_for_local_files_only(source):
    assert "names the columns of a local file" in _error(source=source, fields=FieldMapping(question="q", answer="a"))


# Subsets.


def _questions(source: str, **settings: Any) -> list[str]:
    return [problem.question for problem in load_problems(ProblemsConfig(source=source, **settings))]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"min_steps": 1}, ["One step?", "Two steps?", "Three steps?"]),
        ({"min_steps": 2}, ["Two steps?", "Three steps?"]),
        ({"max_steps": 1}, ["One step?"]),
        ({"min_steps": 2, "max_steps": 2}, ["Two steps?"]),
        ({"operators": ("+",)}, ["One step?"]),
        ({"operators": ("+", "-")}, ["One step?", "Three steps?"]),
        ({"operators": ("*", "/")}, ["Two steps?"]),
        ({"operators": ("+", "-"), "min_steps": 2}, ["Three steps?"]),
        ({"operators": ("+", "-", "*", "/")}, ["One step?", "Two steps?", "Three steps?"]),
        ({"min_steps": 1, "limit": 2}, ["One step?", "Two steps?"]),
    ],
)
def test_filters_look_at_the_worked_solution_and_come_before_the_limit(write, settings, kept):
    assert _questions(write(*STEPS), **settings) == kept


def test_problems_that_a_filter_cannot_read_are_left_out_and_counted(write, caplog):
    odd = ("An unknown?", "<<2*y=10>>\n#### 5")
    with caplog.at_level(logging.INFO, "cotlens"):
        path = write(*STEPS, odd)
        assert odd[0] not in _questions(path, operators=("+", "-", "*", "/"))
        assert odd[0] in _questions(path, max_steps=1)
    first, second = caplog.messages
    assert "2 of 5 problems are left out by problems.operators" in first
    assert "1 of 5 problems are left out by problems.max_steps" in second


def test_a_restated_number_is_no_use_of_an_operator(write):
    with pytest.raises(ConfigError, match="none of the 1 problems"):
        load_problems(ProblemsConfig(source=write(("How many?", "<<40=40>>\n#### 40")), operators=("+",)))


def test_a_filter_on_a_source_without_solutions_is_an_error(write):
    path = write(("How many?", "7"), ("And now?", "8"))
    assert _error(source=path, min_steps=1, operators=("+",)) == (
        f"{path!r} has no worked solutions, which problems.min_steps, problems.operators would look at; "
        "remove the filter"
    )


def test_a_filter_that_leaves_nothing_says_how_many_there_were(write):
    path = write(*STEPS)
    assert _error(source=path, min_steps=9) == (
        f"problems.min_steps: none of the 4 problems of {path!r} fits; loosen the filter"
    )


def test_a_draw_is_another_order_of_the_same_problems():
    drawn = load_problems(ProblemsConfig(seed=0))
    assert drawn != MINI
    assert sorted(drawn, key=lambda problem: problem.id) == sorted(MINI, key=lambda problem: problem.id)
    assert drawn != load_problems(ProblemsConfig(seed=1))


def test_a_draw_is_the_same_on_every_machine():
    assert [problem.id for problem in load_problems(ProblemsConfig(seed=0, limit=4))] == [
        "mini-235",
        "mini-297",
        "mini-172",
        "mini-246",
    ]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**63), small=st.integers(1, 50), more=st.integers(0, 50))
def test_a_smaller_draw_is_the_beginning_of_a_larger_one(seed, small, more):
    larger = load_problems(ProblemsConfig(seed=seed, limit=small + more))
    assert load_problems(ProblemsConfig(seed=seed, limit=small)) == larger[:small]


def test_a_draw_depends_neither_on_the_files_order_nor_on_other_problems(write):
    rows = [(f"How many of {number}?", f"#### {number}") for number in range(30)]
    forward = _questions(write(*rows), seed=3)
    assert _questions(write(*reversed(rows)), seed=3) == forward
    assert _questions(write(*rows[:20]), seed=3) == [question for question in forward if question in dict(rows[:20])]


@pytest.mark.parametrize("symbol", "+-*/")
def test_a_filter_on_mini_keeps_what_it_says(symbol):
    kept = load_problems(ProblemsConfig(operators=(symbol,)))
    assert 5 < len(kept) < len(MINI)
    assert {used_operators(problem.equations) for problem in kept} == {frozenset(symbol)}


# Settings.


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"min_steps": 0}, "greater than 0"),
        ({"max_steps": 0}, "greater than 0"),
        ({"min_steps": 3, "max_steps": 2}, "min_steps 3 is above max_steps 2"),
        ({"operators": ("%",)}, r"Input should be '\+', '-', '\*' or '/'"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"fields": {"question": "q"}}, "answer\n  Field required"),
        ({"fields": {"question": "", "answer": "a"}}, "at least 1 character"),
        ({"fields": {"question": (), "answer": "a"}}, "at least 1 item"),
        ({"fields": {"qestion": "q", "answer": "a"}}, "unknown key 'qestion'; did you mean 'question'?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        ProblemsConfig(**settings)


def test_every_column_setting_says_what_it_is():
    assert all(info.description for info in FieldMapping.model_fields.values())


def test_settings_survive_json():
    fields = FieldMapping(question=("Body", "Question"), answer="Answer", solution="Formula")
    config = RunConfig(problems=ProblemsConfig(source="a.csv", fields=fields, operators=("+",), seed=4, max_steps=3))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("block", re.findall(r"``` yaml\n(.*?)```", DOCS.read_text(), flags=re.DOTALL))
def test_the_mapping_in_the_docs_reads_the_row_in_the_docs(block, tmp_path, monkeypatch):
    (row,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path(yaml.safe_load(block)["problems"]["source"]).write_text(row)
    Path("run.yaml").write_text(block)
    (problem,) = validate(load_config(Path("run.yaml")))
    assert problem.question == "Ada has 7 pears. She eats 2. How many are left?"
    assert problem.gold == Decimal(5)
    assert problem.equations == ("7 - 2 = 5",)
