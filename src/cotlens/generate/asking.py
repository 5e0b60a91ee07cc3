"""The prompts of a study: every question under every variant, as text and as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cotlens.config import GenerateConfig, PromptConfig, RunConfig
from cotlens.data import make_template
from cotlens.data.prompts import Prompt, Template, as_chat
from cotlens.errors import InputError
from cotlens.files import content_hash
from cotlens.generate.lengths import check_lengths, fits
from cotlens.model.prefix import common_prefix_length
from cotlens.model.reading import ReadsPrompts
from cotlens.types import Problem

__all__ = ["Asked", "ask", "ask_all", "new_tokens"]


def ask(lm: ReadsPrompts, template: Template, questions: Sequence[str], config: PromptConfig) -> list[Prompt]:
    """The prompts for ``questions``, as a conversation if ``config`` says so."""
    prompts = [template.ask(question) for question in questions]
    return [as_chat(prompt, lm.tokenizer, config.chat_layout) for prompt in prompts] if config.chat else prompts


def new_tokens(lm: ReadsPrompts, elicit: str, config: GenerateConfig) -> int:
    """Most tokens that are added to a prompt, those of a second completion included."""
    extra = config.answer_tokens + len(lm.encode(elicit, special_tokens=False)) if elicit else 0
    return config.max_new_tokens + extra


@dataclass(frozen=True, slots=True)
class Asked:
    """One variant's prompts."""

    name: str
    template: Template
    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    encoded: Sequence[Sequence[int]]
    new_tokens: int
    """Most tokens that are added to a prompt."""
    left_out: Sequence[str] = ()
    """Questions that were too long under this or another variant."""

    @classmethod
    def of(cls, config: RunConfig, lm: ReadsPrompts, variant: str, problems: Sequence[Problem]) -> Asked:
        """Compose and encode them."""
        template = make_template(variant, config.prompt)
        prompts = ask(lm, template, [problem.question for problem in problems], config.prompt)
        encoded = [lm.encode(prompt.text, prompt.special_tokens) for prompt in prompts]
        return cls(variant, template, problems, prompts, encoded, new_tokens(lm, template.elicit, config.generate))

    @property
    def shared(self) -> int:
        """Number of tokens that all prompts begin with."""
        return common_prefix_length(self.encoded)

    def names(self) -> list[str]:
        """What a message calls each question."""
        return [f"variant {self.name!r}, question {problem.id!r}" for problem in self.problems]

    def only(self, places: Sequence[int]) -> Asked:
        """These questions alone."""
        kept = {self.problems[place].id for place in places}
        return replace(
            self,
            problems=[self.problems[place] for place in places],
            prompts=[self.prompts[place] for place in places],
            encoded=[self.encoded[place] for place in places],
            left_out=[problem.id for problem in self.problems if problem.id not in kept],
        )

    def description(self) -> dict[str, Any]:
        """What the manifest says of them. Lines and equations are those of all demonstrations together."""
        return {
            "sha256": content_hash([prompt.text for prompt in self.prompts]),
            "mean_tokens": round(sum(map(len, self.encoded)) / len(self.encoded), 1),
            "shared_tokens": self.shared,
            "demonstrations": self.template.demonstrations,
            "lines": self.template.lines,
            "equations": self.template.equations,
            "two_stage": bool(self.template.elicit),
            "left_out": list(self.left_out),
        }


def ask_all(config: RunConfig, lm: ReadsPrompts, problems: Sequence[Problem]) -> list[Asked]:
    """Every variant's prompts that fit in the model's context.

    Raises:
        InputError: one is too long, and the settings don't say that it is to be skipped, or all are.
    """
    asked = [Asked.of(config, lm, variant, problems) for variant in config.prompt.variants]
    if config.generate.too_long == "skip":
        asked = _without_long_ones(lm, asked)
    for variant in asked:
        check_lengths(lm, variant.encoded, variant.new_tokens, variant.names())
    return asked


def _without_long_ones(lm: ReadsPrompts, asked: Sequence[Asked]) -> list[Asked]:
    """Every variant without the questions that do not fit under some variant: the same questions for all."""
    problems = asked[0].problems
    kept = [
        place
        for place in range(len(problems))
        if all(fits(lm, variant.encoded[place], variant.new_tokens) for variant in asked)
    ]
    if not kept:
        raise InputError(
            f"no question fits in the model's context of {lm.context_length} tokens under every variant; use fewer "
            "shots or a smaller generate.max_new_tokens"
        )
    return [variant.only(kept) for variant in asked]
