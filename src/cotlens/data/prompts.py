"""Prompts: demonstrations and a question put together, with the place of every part kept.

A `Template` is made once for a variant and asks any number of questions. A `Prompt` is its text together with its
sections, so that each token can be told where it belongs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cotlens.config import PromptConfig
from cotlens.data.demonstrations import Demonstration, Kind, load_demonstrations
from cotlens.data.equations import find_equations
from cotlens.data.variants import CUE, ELICIT, FILE_PREFIX, find_variant
from cotlens.errors import DataError, InputError
from cotlens.files import read_text

__all__ = ["Prompt", "Section", "Template", "as_chat", "build_prompt", "make_template", "solution_lines"]

Part = Literal["question", "cue", "solution", "frame"]
"""``frame`` is what stands between the others: ``Question:``, blank lines, a chat template's own text."""

_ASK = "Question: "
_QUESTION_MARK = "{question}"


class Section(NamedTuple):
    """Characters ``start`` to ``end`` of a prompt; ``demonstration`` counts from 0, None is the question asked."""

    start: int
    end: int
    part: Part
    demonstration: int | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that a model continues. ``special_tokens`` says whether the tokenizer adds its own before it."""

    text: str
    sections: tuple[Section, ...]
    special_tokens: bool = True


@dataclass(frozen=True, slots=True)
class Template:
    """A variant's prompt with the question left open: ``head``, then the question, then ``tail``.

    ``elicit`` is appended to a completion without a stated answer, to ask for it; empty if that is not done.
    """

    variant: str
    head: Prompt
    tail: str
    elicit: str = ""

    def ask(self, question: str) -> Prompt:
        start = len(self.head.text)
        end = start + len(question)
        text = f"{self.head.text}{question}{self.tail}"
        asked = [Section(start, end, "question", None), Section(end + _leading(self.tail), len(text), "cue", None)]
        return Prompt(text, (*self.head.sections, *(section for section in asked if section.start < section.end)))

    @property
    def demonstrations(self) -> int:
        """How many demonstrations are shown."""
        return len({s.demonstration for s in self.head.sections if s.part == "solution"})

    @property
    def lines(self) -> int:
        """Lines of all solutions together, the answers' lines left out."""
        return sum(len(solution_lines(text)) for text in self._solutions())

    @property
    def equations(self) -> int:
        """Equations in all solutions together."""
        return sum(len(find_equations(text)) for text in self._solutions())

    def _solutions(self) -> Iterator[str]:
        for section in self.head.sections:
            if section.part == "solution":
                yield self.head.text[section.start : section.end]


def make_template(variant: str, config: PromptConfig | None = None) -> Template:
    """The template of ``variant``: a name in `VARIANTS`, or ``file:PATH`` for a user's own text.

    Raises:
        InputError: an unknown variant, more shots than demonstrations, or a file that can't be used.
    """
    config = config or PromptConfig()
    if variant.startswith(FILE_PREFIX):
        return _from_file(variant)
    found = find_variant(variant)
    text, sections = "", list[Section]()
    if found.solution is not None:
        for number, (place, demo) in enumerate(_shown(config, found.demonstrations)):
            pieces: tuple[tuple[Part, str], ...] = (
                ("frame", _ASK), ("question", demo.question), ("frame", "\n"), ("cue", found.cue),
                ("solution", "\n".join(found.solution(demo, place))), ("frame", "\n\n"),
            )  # fmt: skip
            for part, piece in pieces:
                if part != "frame":
                    sections.append(Section(len(text), len(text) + len(piece), part, number))
                text += piece
    return Template(variant, Prompt(text + _ASK, tuple(sections)), f"\n{found.cue}", found.elicit)


def build_prompt(
    variant: str, question: str, shots: int = 8, demonstrations: str = "everyday", order_seed: int | None = None
) -> str:
    """The few-shot prompt that asks ``question`` under ``variant``.

    Args:
        variant: a name in `VARIANTS`, or ``file:PATH``.
        question: the question's text.
        shots: number of demonstrations, 0 to 8.
        demonstrations: a bundled set, or the path of a YAML file.
        order_seed: shuffles the demonstrations; None keeps the set's order.

    Raises:
        InputError: an unknown variant, or more shots than there are demonstrations.
    """
    config = PromptConfig.model_construct(shots=shots, demonstrations=demonstrations, order_seed=order_seed)
    return make_template(variant, config).ask(question).text


def solution_lines(text: str) -> list[str]:
    """The lines of a solution that are no answer line and not empty."""
    return [line for line in text.splitlines() if line.strip() and not re.match(r"\s*the answer is\b", line, re.I)]


def as_chat(prompt: Prompt, tokenizer: Any, layout: Literal["turns", "message"]) -> Prompt:
    """``prompt`` as a conversation in the tokenizer's own chat template, open for the assistant's answer.

    Args:
        prompt: what is asked.
        tokenizer: a transformers tokenizer.
        layout: ``turns``, each demonstration a question of the user and an answer of the assistant; or ``message``,
            everything in one message of the user.

    Raises:
        InputError: the tokenizer has no chat template, or one that alters the texts.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("the model's tokenizer has no chat template; leave out --chat (prompt.chat)")
    turns = _turns(prompt) if layout == "turns" else [("user", 0, len(prompt.text))]
    messages = [{"role": role, "content": prompt.text[start:end].strip()} for role, start, end in turns]
    try:
        rendered = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # noqa: BLE001 - templates are programs of their own, and raise what they like
        problem = " ".join(str(error).split())
        raise InputError(f"the model's chat template refuses these messages: {problem}") from None
    moved: list[Section] = []
    cursor = 0
    for (_, start, end), message in zip(turns, messages, strict=True):
        found = rendered.find(message["content"], cursor)
        if found < 0:
            raise InputError("the model's chat template alters the messages' texts; leave out --chat (prompt.chat)")
        cursor = found + len(message["content"])
        shift = found - start - _leading(prompt.text[start:end])
        moved += _moved(prompt.sections, start, end, shift, found, cursor)
    return Prompt(rendered, tuple(moved), special_tokens=False)


def _moved(sections: Sequence[Section], start: int, end: int, shift: int, low: int, high: int) -> Iterator[Section]:
    """The sections between ``start`` and ``end``, moved and cut to ``low`` and ``high``."""
    for section in sections:
        if start <= section.start and section.end <= end:
            yield section._replace(start=max(low, section.start + shift), end=min(high, section.end + shift))


def _turns(prompt: Prompt) -> list[tuple[str, int, int]]:
    """Role, start and end of each message: up to a solution the user speaks, in it the assistant."""
    turns: list[tuple[str, int, int]] = []
    begin = 0
    for section in prompt.sections:
        if section.part == "solution":
            turns += [("user", begin, section.start), ("assistant", section.start, section.end)]
            begin = section.end
    return [*turns, ("user", begin, len(prompt.text))]


def _shown(config: PromptConfig, kind: Kind) -> list[tuple[int, Demonstration]]:
    """The demonstrations to show, each with its number in the set."""
    numbered = list(enumerate(load_demonstrations(config.demonstrations, kind)))
    if not 0 <= config.shots <= len(numbered):
        raise InputError(f"shots is {config.shots}; give 0 to {len(numbered)}")
    if config.order_seed is not None:
        random.Random(config.order_seed).shuffle(numbered)
    return numbered[: config.shots]


def _from_file(variant: str) -> Template:
    """A user's text, taken as it is.

    ``{question}`` in it is the question's place. Without one the question follows the text as in the other variants,
    after a blank line, with the cue that the text itself uses. A text without solutions asks for the answer afterwards.
    """
    path = Path(variant.removeprefix(FILE_PREFIX)).expanduser()
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path}: empty; write a prompt, with {_QUESTION_MARK} where the question stands")
    if text.count(_QUESTION_MARK) > 1:
        raise DataError(f"{path}: {_QUESTION_MARK} stands there {text.count(_QUESTION_MARK)} times; write it once")
    if _QUESTION_MARK in text:
        head, _, tail = text.partition(_QUESTION_MARK)
        cue = _own_cue(head)
    else:
        cue = _own_cue(text)
        head, tail = f"{text.rstrip()}\n\n{_ASK}", f"\n{cue}"
    sections = tuple(_sections(head, cue))
    elicit = "" if any(section.part == "solution" for section in sections) else ELICIT
    return Template(variant, Prompt(head, sections), tail, elicit)


def _own_cue(text: str) -> str:
    """The line that all questions of ``text`` are followed by, with its line break; ours if it has no questions.

    A line that all solutions have in common is a cue if there is no number in it.
    """
    found = re.split(rf"^{_ASK}", text, flags=re.MULTILINE)[1:]
    blocks = [block.splitlines()[1:] for block in found if block.strip()]
    if not blocks:
        return CUE
    common = [line for line in blocks[0] if line and not re.search(r"\d", line) and all(line in b for b in blocks)]
    return f"{common[0]}\n" if common else ""


def _sections(text: str, cue: str) -> Iterator[Section]:
    """The parts of a text of questions, cues and solutions."""
    pattern = rf"^{_ASK}(?P<question>.*?)\n+(?P<cue>{re.escape(cue)})\s*(?P<solution>.*?)\s*(?=^{_ASK}|\Z)"
    for number, found in enumerate(re.finditer(pattern, text, re.MULTILINE | re.DOTALL)):
        for part in ("question", "cue", "solution"):
            if found[part]:
                yield Section(*found.span(part), part, number)


def _leading(text: str) -> int:
    """Number of blank characters that ``text`` begins with."""
    return len(text) - len(text.lstrip())
