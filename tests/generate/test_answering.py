"""Two-stage answers: a completion that states none is continued once more."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from cotlens import LanguageModel, Zero
from cotlens.config import GenerateConfig, PromptConfig
from cotlens.data import make_template
from cotlens.data.answers import grade
from cotlens.data.prompts import Prompt
from cotlens.errors import InputError
from cotlens.generate import answering
from cotlens.generate.answering import Answer, Task, answer, ask
from cotlens.types import Completion

CONFIG = GenerateConfig(max_new_tokens=6, answer_tokens=4, batch_size=2)
QUESTIONS = ["How many pens do 3 boxes hold?", "How many eggs break?"]


class Script:
    """Stands in for the engine: gives the texts it was made with, and keeps what it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch, *texts: list[str]) -> None:
        self.texts, self.asked, self.interventions = list(texts), [], []
        patch.setattr(answering, "complete", lambda *a, **more: reversed(list(enumerate(self.take(*a, **more)))))

    def take(self, lm, prompts, rule, batch_size, interventions, prefix_length=None, names=None):
        self.asked.append([lm.decode(list(ids)) for ids in prompts])
        self.interventions.append(interventions)
        assert len(prompts) == len(self.texts[0])
        return [
            Completion(tuple(ids), tuple(lm.encode(text)), text, "length")
            for ids, text in zip(prompts, self.texts.pop(0), strict=True)
        ]


def answer_all(lm: LanguageModel, prompts: Sequence[Prompt], elicit: str, config: GenerateConfig) -> list[Answer]:
    [answers] = answer(lm, [Task(prompts)], elicit, config)
    return answers


def test_only_completions_without_a_stated_answer_are_asked_again(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(monkeypatch, ["We see 3 and 12.", "The answer is 2."], [" 36 pens."])
    template = make_template("zero_shot_cot")
    prompts = ask(llama, template, QUESTIONS, PromptConfig())
    first, second = answer_all(llama, prompts, template.elicit, CONFIG)
    assert script.asked[1] == [f"{prompts[0].text}We see 3 and 12.\nTherefore, the answer is"]
    assert (first.stated, first.strict, first.flexible) == (" 36 pens.", Decimal(36), Decimal(36))
    assert (second.stated, second.strict, second.flexible) == (None, Decimal(2), Decimal(2))


def test_an_invented_question_is_not_part_of_what_is_asked_again(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(monkeypatch, ["It is 5.\nQuestion: And 9?", "The answer is 2."], [" 5"])
    template = make_template("zero_shot")
    prompts = ask(llama, template, QUESTIONS, PromptConfig())
    answer_all(llama, prompts, template.elicit, CONFIG)
    assert script.asked[1] == [f"{prompts[0].text}It is 5.\n\nTherefore, the answer is"]


def test_few_shot_prompts_are_asked_once(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    Script(monkeypatch, ["So 3 + 4 = 7", "no"], [])
    template = make_template("cot", PromptConfig(shots=1))
    found = answer_all(llama, ask(llama, template, QUESTIONS, PromptConfig(shots=1)), template.elicit, CONFIG)
    assert [(a.stated, a.strict, a.flexible) for a in found] == [(None, None, Decimal(7)), (None, None, None)]


def test_tasks_come_in_order_each_with_its_intervention(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, ["The answer is 1.", "So 2", "So 3", "The answer is 4."], [" 22"], [" 33"])
    template = make_template("zero_shot")
    prompts, edits = ask(llama, template, QUESTIONS, PromptConfig()), (Zero([(0, 1)]),)
    progress: list[int] = []
    tasks = [Task(prompts), Task(prompts, edits)]
    found = list(answer(llama, tasks, template.elicit, CONFIG, progress.append))
    assert [[done.strict for done in answers] for answers in found] == [[1, 22], [33, 4]]
    assert script.interventions == [[(), (), edits, edits], [()], [edits]]
    assert sum(progress) == 4


def test_on_a_real_model_both_stages_continue_their_prompts(llama: LanguageModel) -> None:
    template = make_template("zero_shot")
    prompts = ask(llama, template, QUESTIONS, PromptConfig())
    for prompt, found in zip(prompts, answer_all(llama, prompts, template.elicit, CONFIG), strict=True):
        assert list(found.completion.prompt_ids) == llama.encode(prompt.text)
        assert found.stated is not None
        assert (found.strict, found.flexible) == grade(found.completion.text, found.stated)


def test_a_prompt_too_long_for_both_stages_is_refused_before_any_is_answered(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "complete", None)
    template = make_template("zero_shot")
    prompts = ask(llama, template, ["How many? " * 250], PromptConfig())
    room = llama.context_length - len(llama.encode(prompts[0].text))
    with pytest.raises(InputError, match="exceeds the context of 2048 tokens"):
        answer_all(llama, prompts, template.elicit, GenerateConfig(max_new_tokens=room))


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
