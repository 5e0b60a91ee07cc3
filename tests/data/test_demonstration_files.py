"""A user's own demonstrations: what a file may look like, and what each mistake in one is called."""

from pathlib import Path

import pytest

from cotlens.data import build_prompt
from cotlens.data.demonstrations import Demonstration, Step, load_demonstrations
from cotlens.errors import DataError

GOOD = """
- question: Ann has 3 pens and buys 4. How many has she?
  steps:
    - sentence: Ann has 3 pens.
    - sentence: "With 4 more she has {equation} pens."
      expression: 3 + 4
      result: 7
  answer: 7
"""
DEMO = Demonstration(
    "Ann has 3 pens and buys 4. How many has she?",
    (Step("Ann has 3 pens."), Step("With 4 more she has {equation} pens.", "3 + 4")),
)


@pytest.fixture
def own(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def mistake(source: str, kind: str = "mixed") -> str:
    with pytest.raises(DataError) as caught:
        load_demonstrations(source, kind)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is right.


def test_a_plain_list_is_the_mixed_one(own):
    assert load_demonstrations(own(GOOD)) == (DEMO,)


def test_lists_stand_under_their_names(own):
    under = "".join(f"{kind}:{GOOD}" for kind in ("mixed", "add_only"))
    assert load_demonstrations(own(under), "add_only") == (DEMO,)


def test_a_file_with_one_list_lacks_the_others(own):
    path = own(GOOD)
    assert mistake(path, "add_only") == (
        f"{path}: has no list 'add_only', which the variant add_only needs; known: mixed"
    )
    assert build_prompt("cot", "How many?", 1, path).startswith("Question: Ann has 3 pens")
    with pytest.raises(DataError, match="has no list 'mult_only', which the variant mult_only needs"):
        build_prompt("mult_only", "How many?", 1, path)


def test_hard_wrapped_texts_are_joined(own):
    assert load_demonstrations(own(GOOD.replace("pens and buys", "pens\n    and   buys"))) == (DEMO,)


@pytest.mark.parametrize(
    ("expression", "result"), [("3 + 4", "7.0"), ("14 / 2", '"7"'), ("(3 + 4) * 1", "14/2"), ("7", "7")]
)
def test_numbers_are_compared_as_numbers(own, expression, result):
    text = GOOD.replace("expression: 3 + 4", f"expression: {expression}").replace("result: 7", f"result: {result}")
    assert load_demonstrations(own(text))[0].results() == [7]


def test_a_home_folder_a_byte_order_mark_and_another_suffix_are_fine(own, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.txt").write_text(f"\ufeff{GOOD}", encoding="utf-8")
    assert load_demonstrations("~/mine.txt") == (DEMO,)


def test_a_result_that_is_no_decimal_number_stands_in_brackets_where_it_is_used(own):
    chain = "- {sentence: 'Is {equation}.', expression: 10 / 3, result: 10/3}"
    use = "- {sentence: 'Is {equation}.', expression: 100 / r1, result: 30}"
    path = own(f"- question: How many?\n  answer: 30\n  steps:\n  {chain}\n  {use}\n")
    assert "Is 10 / 3 = 10/3.\nIs 100 / (10/3) = 30.\n" in build_prompt("cot", "How many?", 1, path)
    assert "Is 10 / 3 = 16/3.\nIs 100 / (16/3) = 20.75.\n" in build_prompt("incorrect_label", "How many?", 1, path)


# What is wrong: in the file as a whole.


@pytest.mark.parametrize(
    ("name", "hint"), [("everydya", "did you mean 'everyday'?"), ("zzz", "known: everyday, journey, workshop")]
)
def test_an_unknown_name_gets_the_nearest_one(name, hint):
    assert mistake(name) == f"demonstrations {name!r} are not known; {hint}; or give the path of a YAML file"


def test_a_missing_file_a_folder_and_a_file_that_is_no_text_are_named(tmp_path):
    missing, binary = tmp_path / "missing.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert mistake(str(missing)) == f"{missing}: no such file"
    assert mistake(str(tmp_path)) == f"{tmp_path}: a folder, not a file"
    assert mistake(str(binary)).startswith(f"{binary}: can't be read as UTF-8 text")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mixed:\n  - {question: How many\n", ", line 3: not valid YAML: expected ',' or '}'"),
        ("mixed:\n- question: a: b\n", ", line 2: not valid YAML: mapping values are not allowed here"),
        ("", ": expected a list of demonstrations, or lists under mixed, add_only, mult_only"),
        ("42", ": expected a list of demonstrations, or lists under mixed, add_only, mult_only"),
        (f"mixd:{GOOD}", ": unknown list 'mixd'; did you mean 'mixed'?"),
        (f"1:{GOOD}", ": unknown list 1; known: "),
        ("mixed: []", ": mixed is empty or no list"),
        ("[]", ": mixed is empty or no list"),
        ("mixed: {question: How many}", ": mixed is empty or no list"),
    ],
)
def test_a_file_that_is_no_set_is_named_with_its_line(own, text, problem):
    path = own(text)
    assert mistake(path).startswith(f"{path}{problem}")


# What is wrong: in a demonstration, named by its place in its list.


@pytest.fixture
def spoilt(own):
    """The message about a file whose second demonstration has ``old`` replaced, from the demonstration's place on."""

    def message(old: str, new: str) -> str:
        assert old in GOOD
        path = own(f"add_only:{GOOD}{GOOD.replace(old, new)}")
        found = mistake(path, "add_only")
        assert found.startswith(f"{path}, add_only 2")
        return found.removeprefix(f"{path}, add_only 2")

    return message


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("result: 7", "result: 8", ", step 2: 3 + 4 is 7, but the result says 8"),
        ("result: 7", "result: seven", ", step 2, result: 'seven' is no number"),
        ("result: 7", "result: true", ", step 2, result: 'True' is no number"),
        ("answer: 7", "answer: 8", ": the answer is 8, but the last result is 7"),
        ("answer: 7", "answer: 3", ": the answer is 3, but the last result is 7"),
        ("answer: 7", "answer: 7 pens", ", answer: '7 pens' is no number"),
        ("answer: 7", f"answer: {'9' * 90}x", f", answer: '{'9' * 40}' is no number"),
    ],
)
def test_a_number_that_is_wrong_or_none(spoilt, old, new, problem):
    assert spoilt(old, new) == problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("result: 7", "", ", step 2: field 'result' is missing"),
        ("answer: 7", "", ": field 'answer' is missing or empty"),
        ("- sentence: Ann has 3 pens.", "- result: 3", ", step 1: field 'sentence' is missing or empty"),
        ("answer: 7", "answr: 7", ": unknown field 'answr'; did you mean 'answer'?"),
        ("expression: 3", "expresion: 3", ", step 2: unknown field 'expresion'; did you mean 'expression'?"),
        ("answer: 7", "answer: 7\n  note: good", ": unknown field 'note'; known: answer, question, steps"),
        (DEMO.question, "' '", ", question: empty or no text"),
        (DEMO.question, "5", ", question: empty or no text"),
        (DEMO.question, "[5]", ", question: empty or no text"),
        (DEMO.question, "", ": field 'question' is missing or empty"),
        ("- sentence: Ann has 3 pens.", "- sentence: [Ann]", ", step 1, sentence: empty or no text"),
        ("- sentence: Ann has 3 pens.", "- Ann has 3 pens.", ", step 1: expected the fields sentence, got str"),
    ],
)
def test_a_field_that_is_missing_unknown_or_no_text(spoilt, old, new, problem):
    assert spoilt(old, new) == problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{equation} pens", "pens", "a sentence with an expression has {equation} exactly once, this one 0 times"),
        ('pens."', '{equation}"', "a sentence with an expression has {equation} exactly once, this one 2 times"),
        ('pens."', '{pens"', "'With 4 more she has {equation} {pens' has a brace that is not {equation}"),
        ('pens."', 'pens}"', "'With 4 more she has {equation} pens}' has a brace that is not {equation}"),
        ("{equation} pens.", "{equaton}", "'With 4 more she has {equaton}' has a brace that is not {equation}"),
    ],
)
def test_a_sentence_whose_braces_are_not_right(spoilt, old, new, problem):
    assert spoilt(old, new) == f", step 2: {problem}"


@pytest.mark.parametrize("step", ["sentence: 'Ann has {equation} pens.'", "{sentence: Ann has 3 pens., result: 3}"])
def test_a_step_with_a_place_or_a_result_but_no_expression(spoilt, step):
    assert spoilt("sentence: Ann has 3 pens.", step) == ", step 1: has {equation} or a result, but no expression"


NO_ARITHMETIC = "is not an arithmetic expression; write numbers, + - * / and r1, r2, ... for earlier results"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("r3 + 4", f": 'r3 + 4' {NO_ARITHMETIC}"),
        ("r1 + 4", f": 'r1 + 4' {NO_ARITHMETIC}"),
        ("7 ** 1", f": '7 ** 1' {NO_ARITHMETIC}"),
        ("3 pens + 4", f": '3 pens + 4' {NO_ARITHMETIC}"),
        ("__import__('os')", f""": "__import__('os')" {NO_ARITHMETIC}"""),
        ("7 / 0", ": '7 / 0' divides by zero; write numbers, + - * / and r1, r2, ... for earlier results"),
        ("''", ", expression: empty or no text"),
    ],
)
def test_an_expression_that_cant_be_calculated(spoilt, expression, problem):
    assert spoilt("expression: 3 + 4", f"expression: {expression}") == f", step 2{problem}"


def test_a_solution_that_never_calculates(own):
    path = own("- {question: How many, steps: [{sentence: Seven.}], answer: 7}")
    assert mistake(path) == f"{path}, mixed 1: no step has an expression; the last one that has gives the answer"


@pytest.mark.parametrize("steps", ["[]", "4", "{sentence: A.}"])
def test_steps_are_a_list_that_is_not_empty(own, steps):
    path = own(f"- {{question: How many, steps: {steps}, answer: 7}}")
    assert mistake(path) == f"{path}, mixed 1: steps are empty or no list"


def test_a_demonstration_is_a_mapping(own):
    path = own("- Why?")
    assert mistake(path) == f"{path}, mixed 1: expected the fields question, steps, answer, got str"


def test_an_impossible_date_is_named_and_not_a_crash(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("- question: 2020-13-45\n")
    with pytest.raises(DataError, match=r"own\.yaml: not valid YAML: month must be in 1..12.*quotation marks"):
        load_demonstrations(str(file))
