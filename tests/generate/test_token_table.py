"""Where each token of prompt and completion belongs."""

import copy

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from cotlens import LanguageModel
from cotlens.config import PromptConfig
from cotlens.data import VARIANTS, Prompt, make_template
from cotlens.data.prompts import as_chat
from cotlens.generate.token_table import SCHEMA, completion_tokens, prompt_tokens, token_frame

QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"

each_variant = pytest.mark.parametrize("variant", list(VARIANTS))


@pytest.fixture(params=["tiny", pytest.param("embedded", marks=pytest.mark.embedded)])
def any_lm(request: pytest.FixtureRequest) -> LanguageModel:
    return request.getfixturevalue("llama" if request.param == "tiny" else "smollm2")


def asked(variant: str, question: str = QUESTION, **settings: object) -> Prompt:
    return make_template(variant, PromptConfig(**settings)).ask(question)


def rows_of(lm: LanguageModel, prompt: Prompt) -> list[dict[str, object]]:
    ids = lm.encode(prompt.text, prompt.special_tokens)
    rows = prompt_tokens(lm, prompt, ids)
    assert [row["token_id"] for row in rows] == ids
    assert [row["position"] for row in rows] == list(range(len(ids)))
    return rows


def joined(rows: list[dict[str, object]], **wanted: object) -> str:
    """The text of the tokens that have ``wanted``, side by side."""
    return "".join(str(row["text"]) for row in rows if all(row[name] == value for name, value in wanted.items()))


# Prompts.


@each_variant
def test_the_texts_of_all_tokens_are_the_prompt(variant, any_lm):
    prompt = asked(variant)
    rows = rows_of(any_lm, prompt)
    assert joined(rows) == prompt.text
    assert all(prompt.text[row["start"] : row["end"]] == row["text"] for row in rows)


@each_variant
def test_the_tokens_of_each_part_are_its_text(variant, any_lm):
    prompt = asked(variant, shots=3)
    rows = rows_of(any_lm, prompt)
    for section in prompt.sections:
        text = joined(rows, part=section.part, demonstration=section.demonstration)
        # A token may begin with the space before its word, which the part does not have.
        assert text.removeprefix(" ") == prompt.text[section.start : section.end]
    counted = {(row["part"], row["demonstration"]) for row in rows}
    assert counted == {(section.part, section.demonstration) for section in prompt.sections} | {("frame", None)}


@pytest.mark.parametrize("variant", ["cot", "equation_only", "recall_then_infer", "answer_only"])
def test_lines_count_those_of_each_solution_from_zero(variant, any_lm):
    prompt = asked(variant, shots=3)
    rows = rows_of(any_lm, prompt)
    solutions = [prompt.text[s.start : s.end].split("\n") for s in prompt.sections if s.part == "solution"]
    for demonstration, lines in enumerate(solutions):
        for number, line in enumerate(lines):
            text = joined(rows, part="solution", demonstration=demonstration, line=number)
            assert text.strip("\n") == line
    assert all((row["line"] is None) == (row["part"] != "solution") for row in rows)


def test_roles_of_a_line_are_those_of_its_pieces(any_lm):
    rows = rows_of(any_lm, asked("cot", shots=3))
    line = {"part": "solution", "demonstration": 2, "line": 3}  # So 74 - 35 = 39 marbles are left.
    assert joined(rows, **line, role="connective").strip() == "So"
    assert joined(rows, **line, role="operand").replace(" ", "") == "7435"
    assert joined(rows, **line, role="operator").strip() == "-"
    assert joined(rows, **line, role="equals").strip() == "="
    assert joined(rows, **line, role="result").strip(" .") == "39"
    last = {"part": "solution", "demonstration": 2, "line": 4}
    assert joined(rows, **last, role="answer_phrase").strip() == "The answer is"
    assert joined(rows, **last, role="answer").strip(" .") == "39"
    assert {row["role"] for row in rows if row["part"] in ("cue", "frame")} == {"text"}


def test_words_as_results_are_results(any_lm):
    rows = rows_of(any_lm, asked("incorrect_ood_label", shots=3))
    line = {"part": "solution", "demonstration": 2, "line": 3}  # So thistle - 35 = canyon marbles are left.
    assert (
        joined(rows, **line, role="operand").split() == ["thistle", "35"]
        or joined(rows, **line, role="operand").replace(" ", "") == "thistle35"
    )
    assert joined(rows, **line, role="result").strip() == "canyon"


def test_numbers_of_a_question_are_numbers(any_lm):
    rows = rows_of(any_lm, asked("zero_shot"))
    assert joined(rows, part="question", role="number").replace(" ", "") == "34"
    assert joined(rows, part="question", role="connective").split() == ["then"]


def test_every_character_of_a_text_in_other_scripts_belongs_to_a_token(any_lm):
    prompt = asked("cot", "Größe: 3 𓀀 + 日本 = naïve? So?", shots=1)
    rows = rows_of(any_lm, prompt)
    covered = {place for row in rows for place in range(row["start"], row["end"])}
    assert covered == set(range(len(prompt.text)))
    sign = prompt.text.index("𓀀")
    [holder] = [row for row in rows if row["start"] <= sign < row["end"]]
    sharing = [row for row in rows if row["start"] == row["end"] == sign + 1]
    assert sharing  # one character over several tokens: the first holds it
    assert {(row["part"], row["demonstration"]) for row in [holder, *sharing]} == {("question", None)}
    assert {row["role"] for row in sharing} == {holder["role"]}
    assert "".join(row["text"] for row in rows) == prompt.text


@pytest.mark.embedded
@pytest.mark.parametrize("layout", ["turns", "message"])
def test_a_conversation_has_the_same_parts_and_roles(layout, smollm2: LanguageModel):
    plain = asked("cot", shots=3)
    rows = rows_of(smollm2, plain)
    chat = rows_of(smollm2, as_chat(plain, smollm2.tokenizer, layout))
    for part in ("question", "cue", "solution"):
        for demonstration in (0, 1, 2):
            wanted = {"part": part, "demonstration": demonstration}
            assert joined(chat, **wanted).strip() == joined(rows, **wanted).strip()
    for role in ("operand", "operator", "equals", "result", "answer", "number", "connective"):
        assert joined(chat, role=role).replace("\n", "") == joined(rows, role=role).replace("\n", "")
    assert "<|im_start|>" in joined(chat, part="frame")


def test_a_token_that_begins_every_text_belongs_to_the_frame(llama):
    tokenizer = copy.deepcopy(llama.tokenizer)
    begin = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer.backend_tokenizer.post_processor = begin
    prompt = asked("cot", shots=1)
    first, *rest = rows_of(LanguageModel(llama.model, tokenizer), prompt)
    assert (first["token_id"], first["text"], first["start"], first["end"]) == (0, "", 0, 0)
    assert (first["part"], first["role"]) == ("frame", "text")
    names = ("token_id", "text", "start", "end", "part", "demonstration", "line", "role")
    plain = rows_of(llama, prompt)
    assert [[row[name] for name in names] for row in rest] == [[row[name] for name in names] for row in plain]


# Completions.


COMPLETION = "So 4 + 3 = 7 kittens.\nThe answer is 7."


def test_the_tokens_of_a_completion_are_its_text_line_by_line(any_lm):
    ids = any_lm.encode(COMPLETION, special_tokens=False)
    rows = completion_tokens(any_lm, ids, 100)
    assert joined(rows) == COMPLETION
    assert [row["position"] for row in rows] == list(range(100, 100 + len(ids)))
    assert {(row["part"], row["demonstration"]) for row in rows} == {("completion", None)}
    assert joined(rows, line=0).strip("\n") == "So 4 + 3 = 7 kittens."
    assert joined(rows, line=1).strip("\n") == "The answer is 7."
    assert joined(rows, role="operand").replace(" ", "") == "43"
    assert joined(rows, role="result").strip() == "7"
    assert joined(rows, role="answer").strip(" .") == "7"


def test_roles_of_a_completion_are_those_of_a_demonstration_with_the_same_text(any_lm):
    prompt = asked("cot", shots=1)
    (solution,) = (prompt.text[s.start : s.end] for s in prompt.sections if s.part == "solution")
    shown = [row for row in rows_of(any_lm, prompt) if row["part"] == "solution"]
    generated = completion_tokens(any_lm, any_lm.encode(solution, special_tokens=False), 0)
    names = ("token_id", "text", "line", "role")
    assert [[row[name] for name in names] for row in generated] == [[row[name] for name in names] for row in shown]


@pytest.mark.parametrize("text", ["𓀀", "So 𓀀 has 3 + 4 = 7 日本.", "naïve Größe", "👩‍🚀👩‍🚀 are 2 * 1 = 2"])
def test_of_tokens_that_share_a_character_the_first_holds_it(text, any_lm):
    ids = any_lm.encode(text, special_tokens=False)
    rows = completion_tokens(any_lm, ids, 0)
    assert joined(rows) == text
    assert ("𓀀" in text) <= ("" in [row["text"] for row in rows])
    assert all(row["role"] == "text" for row in rows if not row["text"])


def test_a_character_that_was_never_finished_is_one_replacement_sign(any_lm):
    ids = any_lm.encode("𓀀", special_tokens=False)[:-1]
    rows = completion_tokens(any_lm, ids, 0)
    assert joined(rows) == any_lm.decode(ids) == "\ufffd"
    assert [len(str(row["text"])) for row in rows] == [1, *[0] * (len(ids) - 1)]


def test_an_empty_completion_has_no_tokens(llama):
    assert completion_tokens(llama, [], 5) == []


@settings(max_examples=60)
@given(ids=st.lists(st.integers(0, 399), max_size=30))
def test_any_tokens_at_all_are_placed_in_order_and_cover_the_text(ids, llama):
    rows = completion_tokens(llama, ids, 0)
    assert joined(rows) == llama.decode(ids)
    places = [place for row in rows for place in (row["start"], row["end"])]
    assert places == sorted(places)


# The table.


def test_the_table_has_the_types_of_its_schema_whatever_it_holds(llama):
    prompt = asked("cot", shots=1)
    rows = rows_of(llama, prompt)
    shared = token_frame("cot", None, rows[:5])
    own = token_frame("cot", "q-1", completion_tokens(llama, llama.encode(COMPLETION), len(rows)))
    assert dict(shared.schema) == dict(own.schema) == dict(token_frame("cot", None, []).schema) == SCHEMA
    assert shared["question_id"].to_list() == [None] * 5
    assert own["question_id"].unique().to_list() == ["q-1"]
    together = pl.concat([shared, own])
    assert together.height == 5 + own.height
    assert together.filter(pl.col("part") == "completion")["text"].str.join("").item() == COMPLETION
