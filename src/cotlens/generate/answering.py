"""Prompts answered and graded: one completion each, and a second, short one where the first states no answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from cotlens.config import GenerateConfig, PromptConfig
from cotlens.data.answers import extract_answer, grade, until_next_question
from cotlens.data.prompts import Prompt, Template, as_chat
from cotlens.generate.engine import OnProgress, check_lengths, generate
from cotlens.model.language_model import LanguageModel
from cotlens.types import Completion

__all__ = ["Answer", "answer", "ask"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion with what was read from it; ``stated`` is the second completion, if there was one."""

    completion: Completion
    stated: str | None
    strict: Decimal | None
    flexible: Decimal | None


def ask(lm: LanguageModel, template: Template, questions: Sequence[str], config: PromptConfig) -> list[Prompt]:
    """The prompts for ``questions``, as a conversation if ``config`` says so."""
    prompts = [template.ask(question) for question in questions]
    return [as_chat(prompt, lm.tokenizer, config.chat_layout) for prompt in prompts] if config.chat else prompts


def answer(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    elicit: str,
    config: GenerateConfig,
    on_progress: OnProgress | None = None,
) -> list[Answer]:
    """Complete every prompt greedily, and grade the completions.

    With ``elicit`` the completions that state no answer are continued once more after that text (Kojima et al., 2022).

    Raises:
        InputError: a prompt that does not fit in the model's context, found before anything is generated.
    """
    encoded = [lm.encode(prompt.text, prompt.special_tokens) for prompt in prompts]
    extra = config.answer_tokens + len(lm.encode(elicit, special_tokens=False)) if elicit else 0
    check_lengths(lm, encoded, config.max_new_tokens + extra)
    completions = generate(lm, encoded, config.max_new_tokens, config.stop, config.batch_size, on_progress)
    open_ones = [
        place for place, done in enumerate(completions) if elicit and extract_answer(done.text, "strict") is None
    ]
    again = [
        lm.encode(f"{prompts[place].text}{until_next_question(completions[place].text)}{elicit}",
                  prompts[place].special_tokens)
        for place in open_ones
    ]  # fmt: skip
    second = generate(lm, again, config.answer_tokens, config.stop, config.batch_size)
    stated = dict(zip(open_ones, (done.text for done in second), strict=True))
    return [
        Answer(done, stated.get(place), *grade(done.text, stated.get(place))) for place, done in enumerate(completions)
    ]
