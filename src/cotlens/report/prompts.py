"""The prompts as the model read them, cut to a few demonstrations, with what is not so in the reference prompt marked.

The texts come from the table of tokens, so they are those of the run, whatever became of a user's file since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from cotlens.data.variants import FILE_PREFIX, VARIANTS
from cotlens.report.line_marks import Line, compared_lines, plain_lines
from cotlens.report.names import variant_names
from cotlens.report.stored_tokens import has_tokens, prompt_tokens, rebuilt
from cotlens.report.tables import Row
from cotlens.report.text import count, decimal, readable
from cotlens.store import Run

__all__ = ["Excerpt", "PromptExhibit", "ShownPrompt", "cut_prompt", "prompt_exhibit"]

_DEMONSTRATIONS_SHOWN = 2
#: Characters shown of the start and of the end of a text; a user's own prompt can be a book.
_MOST = 2500


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The first demonstrations of a prompt, how many are left out after them, and what asks the question."""

    head: tuple[str, ...]
    omitted: int
    tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """One variant's prompt. ``facts`` are its numbers in words, ``note`` how it compares with the reference."""

    variant: str
    description: str
    facts: str
    note: str
    head: tuple[Line, ...]
    omitted: str
    tail: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class PromptExhibit:
    """All prompts with one question; they are compared with ``reference``."""

    reference: str
    prompts: tuple[ShownPrompt, ...]


def prompt_exhibit(run: Run, accuracy: Sequence[Row]) -> PromptExhibit:
    """The prompt of every variant, with the first question; without token texts, descriptions and numbers alone."""
    variants = run.config.prompt.variants
    names = variant_names(variants)
    numbers = {row["variant"]: row for row in accuracy}
    excerpts = _excerpts(run)
    first = "cot" if "cot" in excerpts else variants[0]
    shown = []
    for variant, name in names.items():
        excerpt, reference = excerpts.get(variant), excerpts.get(first)
        head, tail, note = _compared(excerpt, None if variant == first else reference, names[first])
        omitted = excerpt.omitted if excerpt else 0
        shown.append(
            ShownPrompt(
                variant=name,
                description=_description(variant),
                facts=_facts(numbers.get(name, {})),
                note=note,
                head=head,
                omitted=count(omitted, "more demonstration") if omitted else "",
                tail=tail,
            )
        )
    return PromptExhibit(names[first], tuple(shown))


def cut_prompt(tokens: Sequence[Mapping[str, Any]]) -> Excerpt:
    """The prompt's first demonstrations and its question; a prompt without demonstrations is all question."""
    text = rebuilt(tokens)
    ends = {
        token["demonstration"]: _line_end(text, token["end"]) for token in tokens if token["demonstration"] is not None
    }
    kept = list(ends.values())[:_DEMONSTRATIONS_SHOWN]
    head, tail = (text[: kept[-1]], text[max(ends.values()) :].lstrip("\n")) if kept else ("", text)
    return Excerpt(_lines(head), len(ends) - len(kept), _lines(tail))


def _line_end(text: str, start: int) -> int:
    """A token that holds the end of a demonstration and more counts for neither, so the rest of the line goes along."""
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _lines(text: str) -> tuple[str, ...]:
    if len(text) > 2 * _MOST:
        text = f"{text[:_MOST]}…{text[-_MOST:]}"
    return tuple(readable(text, len(text)).removesuffix("\n").split("\n")) if text else ()


def _excerpts(run: Run) -> dict[str, Excerpt]:
    """The prompt of every variant with the first question; empty where no texts are stored."""
    first = run.config.prompt.variants[0]
    asked = run.completions().filter(variant=first)["question_id"].head(1).to_list()
    if not asked or not has_tokens(run):
        return {}
    return {variant: cut_prompt(tokens) for variant, tokens in prompt_tokens(run, asked[0]).items()}


def _compared(
    excerpt: Excerpt | None, reference: Excerpt | None, name: str
) -> tuple[tuple[Line, ...], tuple[Line, ...], str]:
    """The lines of both ends of a prompt, marked, and how many are."""
    if excerpt is None:
        return (), (), "Its text is not stored."
    if reference is None:
        return plain_lines(excerpt.head), plain_lines(excerpt.tail), ""
    head, tail = compared_lines(excerpt.head, reference.head), compared_lines(excerpt.tail, reference.tail)
    changed = sum(line.changed for line in (*head, *tail) if line.pieces)
    gone = sum(line.left_out for line in (*head, *tail))
    if not changed + gone:
        return head, tail, f"What is shown here is the same as in {name}."
    differences = f"{count(changed, 'line')} changed, added or moved; {count(gone, 'line')} left out"
    return head, tail, f"Compared with {name}, as far as shown: {differences}."


def _description(variant: str) -> str:
    if variant.startswith(FILE_PREFIX):
        return f"the text of {readable(PurePath(variant.removeprefix(FILE_PREFIX)).name, 60)}"
    return VARIANTS[variant].description if variant in VARIANTS else "–"


def _facts(row: Row) -> str:
    """``832 tokens, 8 demonstrations``, and that an answer is asked for, where it is."""
    if not row:
        return "–"
    facts = f"{decimal(row['prompt_tokens'], 0)} tokens, {count(row['demonstrations'], 'demonstration')}"
    return facts + (", two stages" if row["two_stage"] else "")
