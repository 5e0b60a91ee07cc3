"""The texts that a judge reads. They lie in ``prompts/vN/``; a change of wording is a new version.

Tokens are data from a vocabulary that may hold anything, instructions included. Each is shown on a line of its own, in
quotation marks, with spaces and line breaks as signs, between lines that carry the question's id: a hash of its
content, so that no token can contain it and close the block. What looks like one of those signs is escaped, so that two
tokens never look the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from cotlens.errors import InputError
from cotlens.files import content_hash
from cotlens.judge.protocol import (
    AnyQuestion,
    DetectionQuestion,
    Form,
    MergeQuestion,
    NamingQuestion,
    Question,
)
from cotlens.tokens import visible

__all__ = ["Prompt", "again", "check_version", "prompt_versions", "render", "shown", "words_only"]

#: Longest token that is shown whole, in characters.
_LONGEST = 60
#: Signs that mean something in a question: in the data they are escaped.
_SIGNS = {"\\": "\\\\"} | {sign: f"\\u{ord(sign):04x}" for sign in "␣↵⇥␍【】"}
_TEXT = {"type": "string"}
_CONFIDENCE = {"type": "number"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as a judge reads it. ``schema`` is the JSON schema of the reply, ``names`` what it may group."""

    id: str
    form: Form
    system: str
    user: str
    schema: Mapping[str, Any]
    names: tuple[str, ...] = ()


def render(question: AnyQuestion, version: int) -> Prompt:
    """The question for a judge that writes JSON."""
    identity = _identity(question)
    reply, fields = _REPLIES[question.form]
    user = f"{_body(question, identity, version)}\n\n{_fill(version, reply, id=identity)}"
    names = question.names if isinstance(question, MergeQuestion) else ()
    return Prompt(identity, question.form, _fill(version, "system"), user, _schema(fields), names)


def words_only(question: AnyQuestion, version: int) -> Prompt:
    """The question for a judge whose answer is one word, yes or no: short, and with the question last."""
    identity = _identity(question)
    return Prompt(identity, question.form, "", _body(question, identity, version, "word_"), {})


def again(prompt: Prompt, problem: str, version: int) -> str:
    """What is said after a reply that can't be used."""
    return _fill(version, "again", id=prompt.id, problem=problem)


def shown(token: str) -> str:
    """A token as one line in quotation marks."""
    return '"' + _escaped(token, _LONGEST).replace('"', '\\"') + '"'


def prompt_versions() -> list[int]:
    """The versions there are, oldest first."""
    folders = resources.files("cotlens.judge").joinpath("prompts").iterdir()
    return sorted(int(folder.name[1:]) for folder in folders if folder.name[1:].isdigit())


def check_version(version: int) -> None:
    """Raise an `InputError` if the prompt texts have no such version."""
    if version not in prompt_versions():
        known = ", ".join(map(str, prompt_versions()))
        raise InputError(f"label.prompt_version is {version}; the texts for judges have version {known}")


_REPLIES: dict[Form, tuple[str, dict[str, Any]]] = {
    "concept": (
        "reply_verdict",
        {"verdict": {"type": "string", "enum": ["yes", "no"]}, "reason": _TEXT, "confidence": _CONFIDENCE},
    ),
    "detection": (
        "reply_verdict",
        {"verdict": {"type": "string", "enum": ["yes", "no"]}, "reason": _TEXT, "confidence": _CONFIDENCE},
    ),
    "naming": ("reply_name", {"name": _TEXT, "reason": _TEXT, "confidence": _CONFIDENCE}),
    "merge": ("reply_groups", {"groups": {"type": "array", "items": {"type": "array", "items": _TEXT}}}),
}


def _body(question: AnyQuestion, identity: str, version: int, kind: str = "") -> str:
    match question:
        case Question():
            text = _fill(
                version, f"{kind}concept", id=identity, question=question.text, tokens=_lines(question.tokens),
                opposite=_opposite(question.opposite, identity), details=_details(question),
            )  # fmt: skip
        case NamingQuestion():
            opposite = _opposite(question.opposite, identity)
            text = _fill(version, "naming", id=identity, tokens=_lines(question.tokens), opposite=opposite)
        case MergeQuestion():
            names = "\n".join(shown(name).replace("␣", " ") for name in question.names)  # to be written as they are
            text = _fill(version, "merge", id=identity, names=names)
        case DetectionQuestion():
            details = f"That is: {question.description}\n" if question.description else ""
            context = _context(question)
            text = _fill(version, f"{kind}detection", id=identity, name=question.name, details=details, context=context)
    return text.strip()


def _details(question: Question) -> str:
    parts = [question.description] if question.description else []
    if question.negatives:
        parts.append("It does not count if the tokens express: " + "; ".join(question.negatives) + ".")
    return "".join(f"{part}\n" for part in parts)


def _opposite(tokens: tuple[str, ...], identity: str) -> str:
    if not tokens:
        return ""
    head = "And these are the tokens whose probability it lowers most, for comparison; the question is not about them:"
    return f"\n{head}\n--- begin {identity} ---\n{_lines(tokens)}\n--- end {identity} ---\n"


def _context(question: DetectionQuestion) -> str:
    before, token, after = (
        _escaped(text, 4000).replace("␣", " ") for text in (question.before, question.token, question.after)
    )
    return f"{before}【{token}】{after}"


def _escaped(text: str, most: int) -> str:
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(_SIGNS.get(char) or visible(char) for char in cut)


def _lines(tokens: tuple[str, ...]) -> str:
    return "\n".join(map(shown, tokens))


def _identity(question: AnyQuestion) -> str:
    fields = {name: getattr(question, name) for name in type(question).__dataclass_fields__}
    fields.pop("words", None)
    return "q" + content_hash(fields)[:10]


def _schema(fields: dict[str, Any]) -> dict[str, Any]:
    properties = {"id": _TEXT} | fields
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _fill(version: int, file: str, /, **values: str) -> str:
    return _template(version, file).substitute(values).strip()


@cache
def _template(version: int, name: str) -> Template:
    file = resources.files("cotlens.judge").joinpath("prompts", f"v{version}", f"{name}.txt")
    return Template(file.read_text(encoding="utf-8"))
