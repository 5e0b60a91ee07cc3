"""Two-stage answers: a completion that states none is continued once more."""

from decimal import Decimal

import pytest

from cotlens import LanguageModel
from cotlens.config import GenerateConfig, PromptConfig
from cotlens.data import make_template
from cotlens.data.answers import grade
from cotlens.errors import InputError
from cotlens.generate import answering
from cotlens.generate.answering import answer, ask
from cotlens.types import Completion

CONFIG = GenerateConfig(max_new_tokens=6, answer_tokens=4, batch_size=2)
QUESTIONS = ["How many pens do 3 boxes hold?", "How many eggs break?"]


class Script:
    """Stands in for `generate`: gives the texts it was made with, and keeps what it was asked."""

    def __init__(self, lm: LanguageModel, *texts: list[str]) -> None:
        self.lm, self.texts, self.asked = lm, list(texts), []

    def __call__(self, lm, prompts, max_new_tokens, stop, batch_size, on_progress=None):
        self.asked.append([lm.decode(list(ids)) for ids in prompts])
        assert len(prompts) == len(self.texts[0])
        return [
            Completion(tuple(ids), tuple(lm.encode(text)), text, "length")
            for ids, text in zip(prompts, self.texts.pop(0), strict=True)
        ]


def test_only_completions_without_a_stated_answer_are_asked_again(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(llama, ["We see 3 and 12.", "The answer is 2."], [" 36 pens."])
    monkeypatch.setattr(answering, "generate", script)
    template = make_template("zero_shot_cot")
    prompts = ask(llama, template, QUESTIONS, PromptConfig())
    first, second = answer(llama, prompts, template.elicit, CONFIG)
    assert script.asked[1] == [f"{prompts[0].text}We see 3 and 12.\nTherefore, the answer is"]
    assert (first.stated, first.strict, first.flexible) == (" 36 pens.", Decimal(36), Decimal(36))
    assert (second.stated, second.strict, second.flexible) == (None, Decimal(2), Decimal(2))


def test_an_invented_question_is_not_part_of_what_is_asked_again(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(llama, ["It is 5.\nQuestion: And 9?", "The answer is 2."], [" 5"])
    monkeypatch.setattr(answering, "generate", script)
    template = make_template("zero_shot")
    prompts = ask(llama, template, QUESTIONS, PromptConfig())
    answer(llama, prompts, template.elicit, CONFIG)
    assert script.asked[1] == [f"{prompts[0].text}It is 5.\n\nTherefore, the answer is"]


def test_few_shot_prompts_are_asked_once(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(llama, ["So 3 + 4 = 7", "no"], [])
    monkeypatch.setattr(answering, "generate", script)
    template = make_template("cot", PromptConfig(shots=1))
    found = answer(llama, ask(llama, template, QUESTIONS, PromptConfig(shots=1)), template.elicit, CONFIG)
    assert [(a.stated, a.strict, a.flexible) for a in found] == [(None, None, Decimal(7)), (None, None, None)]


def test_on_a_real_model_both_stages_continue_their_prompts(llama: LanguageModel) -> None:
    template = make_template("zero_shot")
    prompts = ask(llama, template, QUESTIONS, PromptConfig())
    for prompt, found in zip(prompts, answer(llama, prompts, template.elicit, CONFIG), strict=True):
        assert list(found.completion.prompt_ids) == llama.encode(prompt.text)
        assert found.stated is not None
        assert (found.strict, found.flexible) == grade(found.completion.text, found.stated)


def test_a_prompt_too_long_for_both_stages_is_refused_before_any_is_answered(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "generate", None)
    template = make_template("zero_shot")
    prompts = ask(llama, template, ["How many? " * 250], PromptConfig())
    room = llama.context_length - len(llama.encode(prompts[0].text))
    with pytest.raises(InputError, match="exceeds the context of 2048 tokens"):
        answer(llama, prompts, template.elicit, GenerateConfig(max_new_tokens=room))


@pytest.mark.parametrize(
    ("text", "stated", "strict", "flexible"),
    [
        ("So it is 5.", " 7.", "7", "7"),
        ("So it is 5.", " unknown.", None, "5"),
        ("So it is 5.", None, None, "5"),
        ("The answer is 3.", " 7.", "3", "3"),
        ("The answer is not clear.", " 7.", "7", "7"),
        ("", "", None, None),
    ],
)
def test_the_first_completion_counts_first(text, stated, strict, flexible) -> None:
    assert grade(text, stated) == (strict and Decimal(strict), flexible and Decimal(flexible))
