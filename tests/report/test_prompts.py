"""The prompts as they are shown: rebuilt from tokens, cut to two demonstrations and the question."""

import re
from typing import Any

import pytest

from cotlens.config import PromptConfig
from cotlens.data import Prompt, make_template
from cotlens.data.prompts import as_chat
from cotlens.report.prompts import cut_prompt
from cotlens.report.stored_tokens import rebuilt

QUESTION = "How many?"


def tokens(prompt: Prompt, pattern: str = r" ?\S+|\s") -> list[dict[str, Any]]:
    found = []
    for word in re.finditer(pattern, prompt.text):
        section = next((s for s in prompt.sections if s.start < word.end() <= s.end), None)
        row = {"text": word[0], "start": word.start(), "end": word.end()}
        found.append(row | {"demonstration": section.demonstration if section else None})
    return found


def token(text: str, start: int, end: int, demonstration: int | None = None) -> dict[str, Any]:
    return {"text": text, "start": start, "end": end, "demonstration": demonstration}


def test_tokens_that_share_a_character_or_leave_out_a_space_give_the_text() -> None:
    begin, halves = token("", 0, 0), [token("🙂", 0, 1), token("🙂", 0, 1)]
    assert rebuilt([begin, *halves, token("is", 2, 4), token("\n", 4, 5)]) == "🙂 is\n"


@pytest.mark.parametrize("pattern", [r" ?\S+|\s", r"\S+", r".\n*", r" ?\w+|[^\w\s]\n*|\s"])
def test_two_demonstrations_and_the_question_are_kept_word_for_word(pattern: str) -> None:
    prompt = make_template("cot", PromptConfig(shots=4)).ask(QUESTION)
    blocks = prompt.text.split("\n\n")
    if pattern == r"\S+":  # such a tokenizer would have no line breaks either
        prompt = Prompt(prompt.text.replace("\n", " "), prompt.sections)
        assert rebuilt(tokens(prompt, pattern)) == prompt.text.rstrip()
        return
    excerpt = cut_prompt(tokens(prompt, pattern))
    assert "\n".join(excerpt.head) == "\n\n".join(blocks[:2])
    assert excerpt.omitted == 2
    assert excerpt.tail == ("Question: How many?", "Let's think step by step")


def test_a_prompt_without_demonstrations_is_all_question() -> None:
    excerpt = cut_prompt(tokens(make_template("zero_shot").ask(QUESTION)))
    assert (excerpt.head, excerpt.omitted, excerpt.tail) == ((), 0, ("Question: How many?",))


def test_one_or_two_demonstrations_leave_none_out() -> None:
    for shots in (1, 2):
        excerpt = cut_prompt(tokens(make_template("cot", PromptConfig(shots=shots)).ask(QUESTION)))
        assert excerpt.omitted == 0
        assert sum(line.startswith("Question: ") for line in excerpt.head) == shots
        assert excerpt.tail[0] == "Question: How many?"


def test_turns_of_a_conversation_end_where_they_end() -> None:
    class Tokenizer:
        chat_template = "yes"

        def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> str:
            turns = "".join(f"<|{m['role']}|>\n{m['content']}<|end|>\n" for m in messages)
            return f"{turns}<|assistant|>\n"

    prompt = as_chat(make_template("cot", PromptConfig(shots=3)).ask(QUESTION), Tokenizer(), "turns")
    excerpt = cut_prompt(tokens(prompt, r" ?\w+|[^\w\s]|\s"))
    assert excerpt.head[0] == "<|user|>"
    assert excerpt.head[-1].endswith("<|end|>")
    assert excerpt.tail[0] == "<|user|>"
    assert excerpt.tail[-1] == "<|assistant|>"
    assert excerpt.omitted == 1


def test_a_book_of_a_prompt_keeps_its_start_and_its_question() -> None:
    text = "once upon a time\n" * 2_000 + "Question: How many?\n"
    excerpt = cut_prompt([token(text, 0, len(text))])
    assert excerpt.tail[0] == "once upon a time"
    assert excerpt.tail[-1] == "Question: How many?"
    assert "…" in "".join(excerpt.tail)
    assert sum(map(len, excerpt.tail)) < 6_000


def test_what_could_hide_or_act_is_shown() -> None:
    text = "a\u202eb\x00c\u2028d\r\n</script>"
    assert cut_prompt([token(text, 0, len(text))]).tail == ("a\\u202eb\\x00c\\u2028d␍", "</script>")
