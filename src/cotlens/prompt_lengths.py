"""Prompts that are too long for the model, found before its weights are fetched or loaded."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.config import RunConfig
from cotlens.data import make_template
from cotlens.model.reading import stated_context
from cotlens.model.source import resolve_model
from cotlens.types import Problem

__all__ = ["check_prompt_lengths"]

#: Tokens that a tokenizer may put around a text; generous.
_SPECIAL = 8


def check_prompt_lengths(config: RunConfig, problems: Sequence[Problem]) -> None:
    """Raise an `InputError` for a prompt that does not fit in the model's context, as the first stage would.

    The tokenizer and the model's settings serve for that. Neither they nor torch are needed where no prompt can be too
    long: a token is a byte of text or more.

    Raises:
        InputError: a prompt is too long; or all are, where such are to be skipped.
        ModelNotFoundError: no model of that name.
        ModelFormatError: its settings or its tokenizer can't be read.
    """
    source = resolve_model(config.model.name, config.model.revision, weights=False)
    context = stated_context(source)
    suspects = _suspects(config, problems, context) if context is not None else []
    if not suspects or (config.generate.too_long == "skip" and len(suspects) < len(problems)):
        return
    from cotlens.generate.asking import ask_all
    from cotlens.model.load import load_reader

    ask_all(config, load_reader(source, config.model.trust_remote_code), suspects)


def _suspects(config: RunConfig, problems: Sequence[Problem], context: int) -> list[Problem]:
    """The problems that may be too long under some variant; all of them where a chat template adds who knows what."""
    if config.prompt.chat:
        return list(problems)
    room = context - config.generate.max_new_tokens - _SPECIAL
    templates = [make_template(variant, config.prompt) for variant in config.prompt.variants]
    two_stages = [(t, (config.generate.answer_tokens + len(t.elicit.encode())) if t.elicit else 0) for t in templates]
    return [
        problem
        for problem in problems
        if any(len(t.ask(problem.question).text.encode()) + extra > room for t, extra in two_stages)
    ]
