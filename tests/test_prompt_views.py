"""The list of variants, one prompt, and how two differ, without a run."""

import copy
import itertools
import json

import pytest
from transformers import PreTrainedTokenizerFast

from cotlens.config import PromptConfig
from cotlens.data import VARIANTS, build_prompt, make_template
from cotlens.errors import DataError, InputError
from cotlens.prompt_views import QUESTION, compare_prompts, list_variants, show_prompt

CONFIG = PromptConfig()
STEP = "{sentence: 'Three more make {equation}.', expression: 4 + 3, result: 7}"


@pytest.fixture
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    own = copy.deepcopy(tokenizer)
    own.chat_template = "{% for m in messages %}<{{ m['role'] }}>\n{{ m['content'] }}\n{% endfor %}"
    return own


# The list.


def test_every_variant_is_listed_with_what_its_template_counts():
    listed = list_variants(CONFIG)
    assert [row["variant"] for row in listed["variants"]] == list(VARIANTS)
    assert listed["demonstrations"] == "everyday"
    assert listed["demonstration_sets"] == ["everyday", "workshop", "journey"]
    assert listed["with_tokens"] is False
    assert listed["left_out"] == {}
    for row in listed["variants"]:
        template = make_template(row["variant"])
        assert row == {
            "variant": row["variant"],
            "description": VARIANTS[row["variant"]].description,
            "shots": template.demonstrations,
            "lines": template.lines,
            "equations": template.equations,
            "characters": len(build_prompt(row["variant"], QUESTION)),
        }


def test_settings_change_what_is_listed():
    rows = {row["variant"]: row for row in list_variants(PromptConfig(shots=2, demonstrations="journey"))["variants"]}
    assert rows["cot"]["shots"] == 2
    assert rows["cot"]["characters"] == len(build_prompt("cot", QUESTION, 2, "journey"))


def test_with_a_tokenizer_tokens_are_counted(tokenizer):
    listed = list_variants(CONFIG, tokenizer)
    assert listed["with_tokens"] is True
    for row in listed["variants"]:
        assert row["tokens"] == len(tokenizer(build_prompt(row["variant"], QUESTION))["input_ids"])


def test_in_a_conversation_the_templates_text_counts(chat_tokenizer):
    plain, chat = (list_variants(PromptConfig(chat=chat), chat_tokenizer)["variants"] for chat in (False, True))
    assert all(one["characters"] < other["characters"] for one, other in zip(plain, chat, strict=True))
    assert all(one["lines"] == other["lines"] for one, other in zip(plain, chat, strict=True))


def test_variants_that_a_users_set_does_not_allow_are_left_out_with_the_reason(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(f"- {{question: Ann has 4. How many now, steps: [{STEP}], answer: 7}}\n")
    listed = list_variants(PromptConfig(shots=1, demonstrations=str(file)))
    assert set(listed["left_out"]) == {"add_only", "mult_only"}
    assert "has no list 'add_only'" in listed["left_out"]["add_only"]
    assert [row["variant"] for row in listed["variants"]] == [v for v in VARIANTS if v not in listed["left_out"]]


def test_a_set_that_cant_be_read_or_is_too_small_is_an_error(tmp_path):
    file = tmp_path / "own.yaml"
    with pytest.raises(DataError, match="no such file"):
        list_variants(PromptConfig(demonstrations=str(file)))
    file.write_text(f"- {{question: How many, steps: [{STEP}], answer: 7}}\n")
    with pytest.raises(InputError, match="shots is 8; give 0 to 1"):
        list_variants(PromptConfig(demonstrations=str(file)))


# One prompt.


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_prompt_is_shown_with_the_place_of_each_part(variant):
    shown = show_prompt(variant, "How many?", CONFIG)
    prompt = make_template(variant).ask("How many?")
    assert shown["variant"] == variant
    assert shown["text"] == prompt.text
    assert [tuple(section.values()) for section in shown["sections"]] == list(prompt.sections)
    assert shown["roles"] == []


def test_roles_stand_where_the_text_has_them():
    shown = show_prompt("cot", QUESTION, PromptConfig(shots=1), with_roles=True)
    pieces = [(role, shown["text"][start:end]) for start, end, role in shown["roles"]]
    assert pieces == [
        ("connective", "first"), ("number", "15"), ("connective", "After"), ("number", "21"), ("connective", "So"),
        ("operand", "21"), ("operator", "-"), ("operand", "15"), ("equals", "="), ("result", "6"),
        ("answer_phrase", "The answer is"), ("answer", "6"),
    ]  # fmt: skip


def test_roles_follow_the_text_into_a_conversation(chat_tokenizer):
    plain = show_prompt("cot", QUESTION, CONFIG, with_roles=True)
    chat = show_prompt("cot", QUESTION, PromptConfig(chat=True), chat_tokenizer, with_roles=True)
    assert chat["text"].startswith("<user>\nQuestion: ")
    pieces = [[(role, found["text"][start:end]) for start, end, role in found["roles"]] for found in (plain, chat)]
    assert pieces[0] == pieces[1]


# Two prompts.


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_variant_does_not_differ_from_itself(variant):
    assert compare_prompts(variant, variant, QUESTION, CONFIG)["lines"] == []


@pytest.mark.parametrize(("one", "other"), list(itertools.pairwise([*VARIANTS, "cot"])))
def test_every_line_of_a_difference_stands_in_the_prompt_it_is_said_to_be_of(one, other):
    compared = compare_prompts(one, other, QUESTION, CONFIG)
    first, second = (build_prompt(name, QUESTION).splitlines() for name in (one, other))
    assert compared["lines"]
    signs = {line[0] for line in compared["lines"]}
    assert signs <= set("-+ @")
    for line in compared["lines"]:
        assert line[0] == "@" or line[0] == "+" or line[1:] in first
        assert line[0] == "@" or line[0] == "-" or line[1:] in second
    assert [name["variant"] for name in (compared["one"], compared["other"])] == [one, other]
    assert compared["one"]["description"] == VARIANTS[one].description


def test_a_difference_reads_like_this():
    compared = compare_prompts("cot", "equation_only", "How many?", PromptConfig(shots=1))
    assert compared["lines"] == [
        "@@ -1,7 +1,5 @@",
        " Question: An orchard has 15 pear trees. This morning the gardeners plant some more, and then there are 21 "
        "pear trees. How many did they plant?",
        " Let's think step by step",
        "-At first the orchard has 15 pear trees.",
        "-After the planting it has 21 pear trees.",
        "-So the gardeners planted 21 - 15 = 6 pear trees.",
        "+21 - 15 = 6.",
        " The answer is 6.",
        " ",
    ]


def test_a_users_own_text_is_shown_and_compared_by_its_name(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Solve: {question}")
    assert show_prompt(f"file:{file}", "How many?", CONFIG)["text"] == "Solve: How many?"
    compared = compare_prompts("zero_shot", f"file:{file}", "How many?", CONFIG)
    assert compared["other"] == {"variant": f"file:{file}", "description": "the text of mine.txt"}
    assert compared["lines"][1:] == ["-Question: How many?", "+Solve: How many?"]


def test_an_unknown_variant_is_an_error():
    with pytest.raises(InputError, match="did you mean 'cot'"):
        compare_prompts("cot", "cott", QUESTION, CONFIG)
    with pytest.raises(InputError, match="did you mean 'cot'"):
        show_prompt("cott", QUESTION, CONFIG)


def test_everything_can_be_written_as_json(tokenizer):
    for found in (
        list_variants(CONFIG, tokenizer),
        show_prompt("cot", QUESTION, CONFIG, with_roles=True),
        compare_prompts("cot", "text_only", QUESTION, CONFIG),
    ):
        again = json.loads(json.dumps(found))
        assert again.keys() == found.keys()
        assert json.dumps(again) == json.dumps(found)
