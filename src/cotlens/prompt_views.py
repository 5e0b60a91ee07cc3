"""Looking at prompts without a run: the variants there are, one of them in full, and how two differ."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from cotlens.config import PromptConfig
from cotlens.data import VARIANTS, Prompt, make_template
from cotlens.data.demonstrations import DEMONSTRATION_SETS, load_demonstrations
from cotlens.data.prompts import as_chat
from cotlens.data.roles import mark_roles
from cotlens.data.variants import FILE_PREFIX
from cotlens.errors import DataError

__all__ = ["QUESTION", "compare_prompts", "list_variants", "show_prompt"]

#: Asked where no question is given.
QUESTION = "A box holds 12 pens, and 5 of them are red. How many pens are in 3 boxes?"


def list_variants(config: PromptConfig, tokenizer: Any = None) -> dict[str, Any]:
    """Every built-in variant with its length: solution lines, equations, characters, and the tokenizer's tokens.

    ``left_out`` has the variants that a user's own demonstrations don't allow, each with the reason.
    """
    load_demonstrations(config.demonstrations)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for name, variant in VARIANTS.items():
        try:
            template = make_template(name, config)
        except DataError as error:
            left_out[name] = str(error)
            continue
        prompt = _prompt(name, QUESTION, config, tokenizer)
        row = {
            "variant": name,
            "description": variant.description,
            "shots": template.demonstrations,
            "lines": template.lines,
            "equations": template.equations,
            "characters": len(prompt.text),
        }
        if tokenizer is not None:
            row["tokens"] = len(tokenizer(prompt.text, add_special_tokens=prompt.special_tokens)["input_ids"])
        rows.append(row)
    return {
        "demonstrations": config.demonstrations,
        "demonstration_sets": list(DEMONSTRATION_SETS),
        "with_tokens": tokenizer is not None,
        "variants": rows,
        "left_out": left_out,
    }


def show_prompt(
    variant: str, question: str, config: PromptConfig, tokenizer: Any = None, with_roles: bool = False
) -> dict[str, Any]:
    """One prompt: its text, the place of each part, and with ``with_roles`` those of operands, results and so on."""
    prompt = _prompt(variant, question, config, tokenizer)
    roles = [
        (span.start + section.start, span.end + section.start, span.role)
        for section in prompt.sections
        if with_roles and section.part == "solution"
        for span in mark_roles(prompt.text[section.start : section.end])
    ]
    return {
        "variant": variant,
        "text": prompt.text,
        "sections": [section._asdict() for section in prompt.sections],
        "roles": roles,
    }


def compare_prompts(one: str, other: str, question: str, config: PromptConfig, tokenizer: Any = None) -> dict[str, Any]:
    """How two variants' prompts differ, as the lines of a unified diff."""
    first, second = (_prompt(name, question, config, tokenizer).text.splitlines() for name in (one, other))
    lines = list(difflib.unified_diff(first, second, one, other, lineterm="", n=2))
    return {
        "one": {"variant": one, "description": _description(one)},
        "other": {"variant": other, "description": _description(other)},
        "lines": lines[2:],
    }


def _prompt(variant: str, question: str, config: PromptConfig, tokenizer: Any) -> Prompt:
    prompt = make_template(variant, config).ask(question)
    return as_chat(prompt, tokenizer, config.chat_layout) if config.chat else prompt


def _description(variant: str) -> str:
    if variant.startswith(FILE_PREFIX):
        return f"the text of {Path(variant.removeprefix(FILE_PREFIX)).name}"
    return VARIANTS[variant].description
