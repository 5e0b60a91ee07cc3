"""What each piece of a solution is: operand, operator, result, connective, answer phrase, ...

The same reading serves demonstrations, users' own prompts and what a model writes, so that the roles of prompt and
completion can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from cotlens.data.equations import NUMBER, find_equations

__all__ = ["ANSWER_PHRASE", "CONNECTIVES", "Role", "Span", "mark_roles", "role_of_each"]

Role = Literal["operand", "operator", "equals", "result", "number", "connective", "answer_phrase", "answer", "text"]
"""``number``: outside an equation. ``answer``: what follows the answer phrase. ``text``: all else."""

ANSWER_PHRASE = re.compile(r"\bthe\s+answer\s+is\b", re.IGNORECASE)

CONNECTIVES = frozenset(
    "so then therefore thus hence because since if when after before first next now finally altogether consequently "
    "however but".split()
)

_WORD_OR_NUMBER = re.compile(rf"(?P<number>{NUMBER})|(?P<word>[^\W\d_]+)")
# A number in the same sentence, else the first word.
_ANSWER = re.compile(rf"[^\n.!?]*?(?<![\w.])(?P<number>-?(?:{NUMBER}))|[^\w\n]*(?P<word>[^\W\d_]+)")


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a text have the role ``role``."""

    start: int
    end: int
    role: Role


def mark_roles(text: str) -> list[Span]:
    """The spans of ``text`` that are more than ``text``, in order, without overlap."""
    spans = [Span(*part) for equation in find_equations(text) for part in equation.parts]
    phrases = list(ANSWER_PHRASE.finditer(text))
    ends = [phrase.start() for phrase in phrases[1:]]
    for phrase, end in zip(phrases, [*ends, len(text)], strict=False):
        spans.append(Span(*phrase.span(), "answer_phrase"))
        answer = _ANSWER.match(text, phrase.end(), end)
        if answer:
            spans.append(Span(*answer.span(answer.lastgroup or 0), "answer"))
    spans += _prose(text)
    kept: list[Span] = []
    # Sorting is stable: of spans that overlap, the first found of those that begin first is kept.
    for span in sorted(spans, key=lambda span: span.start):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def role_of_each(tokens: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[Role]:
    """The role of each token, given as (start, end) in the same text: that of most of its characters.

    A span outweighs unmarked characters, so that `` 15.`` is an operand although half of it is not. An empty token,
    which shares its character with the token before, has that token's role.
    """
    roles: list[Role] = []
    first = 0
    for start, end in tokens:
        if start == end:
            roles.append(roles[-1] if roles else "text")
            continue
        while first < len(spans) and spans[first].end <= start:
            first += 1
        best: Role = "text"
        most = 0
        place = first
        while place < len(spans) and spans[place].start < end:
            shared = min(end, spans[place].end) - max(start, spans[place].start)
            if shared > most:
                best, most = spans[place].role, shared
            place += 1
        roles.append(best)
    return roles


def _prose(text: str) -> Iterator[Span]:
    for match in _WORD_OR_NUMBER.finditer(text):
        if match["number"]:
            yield Span(*match.span(), "number")
        elif match["word"].lower() in CONNECTIVES:
            yield Span(*match.span(), "connective")
