"""``file:PATH``: a user's own prompt, taken as it is."""

from pathlib import Path

import pytest

from cotlens.data import Prompt, Template, build_prompt, make_template
from cotlens.errors import CotlensError, InputError

CUE = "Let's think step by step\n"
CURLY = "Let’s think step by step\n"
ELICIT = "\nTherefore, the answer is"

TWO = (
    "Question: Ann has 3 pens and gets 2. How many has she?\n{cue}So 3 + 2 = 5 pens.\nThe answer is 5.\n\n"
    "Question: Ben has 9 and loses 4. How many are left?\n{cue}So 9 - 4 = 5.\nThe answer is 5.\n"
)


@pytest.fixture
def template(tmp_path: Path):
    def make(text: str | bytes) -> Template:
        path = tmp_path / "own.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return make_template(f"file:{path}")

    return make


def parts(prompt: Prompt) -> list[tuple[str, int | None, str]]:
    return [(s.part, s.demonstration, prompt.text[s.start : s.end]) for s in prompt.sections]


# With a place for the question.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Solve this: ", ""),
        ("", ""),
        ("  Odd\tspaces \n\n\n", "\n\n  and no more  \n"),
        ("Q: How?\nA: So.\n\nQ: ", "\nA:"),
        ("Braces {like} these {} and {0}: ", " {answer}"),
        ("Größe „naïve“ 数: ", " 🙂"),
    ],
)
def test_a_text_with_a_place_is_taken_as_it_is(template, before, after):
    made = template(f"{before}{{question}}{after}")
    assert made.ask("How many {question} pens?").text == f"{before}How many {{question}} pens?{after}"


def test_what_follows_the_place_is_the_cue_without_the_space_before_it(template):
    prompt = template("Solve it.\n{question}\n\nThink hard.\n").ask("How many?")
    assert parts(prompt) == [("question", None, "How many?"), ("cue", None, "Think hard.\n")]
    assert parts(template("Solve it: {question}\n").ask("How many?")) == [("question", None, "How many?")]


def test_demonstrations_before_the_place_are_found(template):
    made = template(f"Examples follow.\n\n{TWO.format(cue=CURLY)}\nQuestion: {{question}}\n{CURLY}")
    prompt = made.ask("And now?")
    assert prompt.text.endswith(f"The answer is 5.\n\nQuestion: And now?\n{CURLY}")
    assert [part for part, *_ in parts(prompt)] == ["question", "cue", "solution"] * 2 + ["question", "cue"]
    assert (made.demonstrations, made.lines, made.equations, made.elicit) == (2, 2, 2, "")


# Without one: the question follows, and the file's own cue.


@pytest.mark.parametrize("cue", [CUE, CURLY, "Answer:\n", "Let me think…\n", "Let's think step by step \n"])
def test_the_question_follows_with_the_cue_that_the_file_uses(template, cue):
    text = TWO.format(cue=cue)
    prompt = template(text).ask("And now?")
    assert prompt.text == f"{text}\nQuestion: And now?\n{cue}"
    assert parts(prompt) == [
        ("question", 0, "Ann has 3 pens and gets 2. How many has she?"),
        ("cue", 0, cue),
        ("solution", 0, "So 3 + 2 = 5 pens.\nThe answer is 5."),
        ("question", 1, "Ben has 9 and loses 4. How many are left?"),
        ("cue", 1, cue),
        ("solution", 1, "So 9 - 4 = 5.\nThe answer is 5."),
        ("question", None, "And now?"),
        ("cue", None, cue),
    ]


def test_demonstrations_without_a_cue_have_none(template):
    made = template(TWO.format(cue=""))
    prompt = made.ask("And now?")
    assert prompt.text == f"{TWO.format(cue='')}\nQuestion: And now?\n"
    assert [part for part, *_ in parts(prompt)] == ["question", "solution"] * 2 + ["question"]
    assert (made.demonstrations, made.lines, made.equations, made.elicit) == (2, 2, 2, "")


@pytest.mark.parametrize("cue", [CUE, CURLY, "Answer:\n", ""])
def test_a_single_demonstration_has_a_cue_if_a_line_without_a_number_follows_its_question(template, cue):
    solution = "So 3 + 2 = 5.\nThe answer is 5."
    prompt = template(f"Question: How many?\n{cue}{solution}").ask("And now?")
    assert prompt.text == f"Question: How many?\n{cue}{solution}\n\nQuestion: And now?\n{cue}"
    assert ("solution", 0, solution) in parts(prompt)


def test_a_text_without_questions_gets_our_cue(template):
    prompt = template("Solve the problem.\n\n\n").ask("How many?")
    assert prompt.text == f"Solve the problem.\n\nQuestion: How many?\n{CUE}"
    assert parts(prompt) == [("question", None, "How many?"), ("cue", None, CUE)]


@pytest.mark.parametrize("ending", ["", "\n", "\n\n", "  \n\n \n"])
def test_one_blank_line_stands_before_the_question_however_the_file_ends(template, ending):
    text = TWO.format(cue=CUE).rstrip("\n")
    assert template(text + ending).ask("And now?").text == f"{text}\n\nQuestion: And now?\n{CUE}"


def test_hard_wrapped_questions_are_whole(template):
    text = TWO.format(cue=CURLY).replace("gets 2. How", "gets 2.\nHow").replace("loses 4. ", "loses 4.\n")
    prompt = template(text).ask("And\nnow?")
    assert [text for part, _, text in parts(prompt) if part == "question"] == [
        "Ann has 3 pens and gets 2.\nHow many has she?",
        "Ben has 9 and loses 4.\nHow many are left?",
        "And\nnow?",
    ]


def test_blank_lines_belong_to_no_part(template):
    text = TWO.format(cue=f"\n{CUE}\n").replace("\n\nQuestion", "\n\n\nQuestion")
    assert parts(template(text).ask("And now?"))[:3] == [
        ("question", 0, "Ann has 3 pens and gets 2. How many has she?"),
        ("cue", 0, CUE),
        ("solution", 0, "So 3 + 2 = 5 pens.\nThe answer is 5."),
    ]


def test_a_byte_order_mark_and_other_line_ends_are_no_part_of_the_text(template):
    text = TWO.format(cue=CURLY)
    assert template(f"\ufeff{text}".replace("\n", "\r\n")).ask("Now?").text == template(text).ask("Now?").text


@pytest.mark.parametrize("variant", ["cot", "equation_only", "incorrect_ood_label", "repeat_question"])
def test_a_file_with_our_own_demonstrations_gives_our_own_prompt(template, variant):
    own = make_template(variant)
    made = template(own.head.text.removesuffix("Question: "))
    assert made.ask("How many?") == own.ask("How many?")
    assert (made.lines, made.equations) == (own.lines, own.equations)


# Asking for the answer afterwards.


@pytest.mark.parametrize(
    ("text", "elicit"),
    [
        ("Solve it.", ELICIT),
        ("Solve it: {question}", ELICIT),
        ("Question: {question}\nThink hard.\n", ELICIT),
        (f"Question: How many?\n{CUE}", ELICIT),
        (TWO.format(cue=CUE), ""),
        (TWO.format(cue=""), ""),
        (f"{TWO.format(cue=CUE)}\nQuestion: {{question}}\n", ""),
    ],
)
def test_the_answer_is_asked_for_only_if_no_solution_shows_how_to_state_it(template, text, elicit):
    assert template(text).elicit == elicit


# What can't be used.


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty; write a prompt, with {question} where the question stands"),
        (b" \n\t\n", "empty; write a prompt, with {question} where the question stands"),
        (b"\xef\xbb\xbf", "empty; write a prompt, with {question} where the question stands"),
        (b"{question} and {question}", "{question} stands there 2 times; write it once"),
        (b"\xff\xfe\x00{question}", "can't be read as UTF-8 text: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b"PK\x03\x04\x80", "can't be read as UTF-8 text"),
    ],
)
def test_a_file_that_is_no_prompt_is_named_in_one_line(template, tmp_path, content, problem):
    with pytest.raises(InputError) as caught:
        template(content)
    assert str(caught.value).startswith(f"{tmp_path / 'own.txt'}: {problem}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file$"):
        make_template(f"file:{tmp_path / 'nowhere.txt'}")
    with pytest.raises(InputError, match=r"a folder, not a file$"):
        make_template(f"file:{tmp_path}")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300])
def test_an_impossible_name_is_an_error_and_no_traceback(name):
    with pytest.raises(CotlensError) as caught:
        make_template(f"file:{name}")
    assert "\n" not in str(caught.value)


def test_a_home_folder_is_found_and_the_variant_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.txt").write_text("Solve: {question}")
    made = make_template("file:~/mine.txt")
    assert made.variant == "file:~/mine.txt"
    assert made.ask("How many?").text == build_prompt("file:~/mine.txt", "How many?") == "Solve: How many?"
