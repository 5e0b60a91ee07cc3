"""A judge whose replies a file prescribes, for tests and for trying a pipeline without a cost.

The file is a YAML list of rules; the first that fits a question gives the reply. ``concept`` and ``token`` limit a rule
to questions about that concept, or with that token among those shown; ``reply`` is the raw reply, in which ``$id``
stands for the question's id, and ``verdict``, ``name`` or ``groups`` make a proper one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cotlens.errors import DataError
from cotlens.files import content_hash, parse_yaml, read_text
from cotlens.judge.parsing import UnparsedError, parse_reply
from cotlens.judge.prompt import Prompt, render
from cotlens.judge.protocol import AnyQuestion, Form, Judgement

__all__ = ["MockJudge"]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    concept: str | None = None
    token: str | None = None
    reply: str | None = None
    verdict: Literal["yes", "no"] | None = None
    name: str | None = None
    groups: list[list[str]] | None = None
    reason: str = "as prescribed"
    confidence: float = 1.0

    def fits(self, question: AnyQuestion) -> bool:
        tokens = getattr(question, "tokens", ()) or (getattr(question, "token", ""),)
        return self.concept in (None, question.concept) and (self.token is None or self.token in tokens)

    def raw(self, prompt: Prompt) -> str:
        if self.reply is not None:
            return self.reply.replace("$id", prompt.id)
        fields: dict[str, Any] = {"verdict": self.verdict, "name": self.name, "groups": self.groups}
        fields |= {"id": prompt.id, "reason": self.reason, "confidence": self.confidence}
        return json.dumps({key: fields[key] for key in prompt.schema["properties"]})


class MockJudge:
    """Replies as ``mock/FILE`` prescribes."""

    forms: frozenset[Form] = frozenset({"concept", "detection", "naming", "merge"})
    remote = False
    cached = False

    def __init__(self, file: str, prompt_version: int = 1) -> None:
        self.name = f"mock/{file}"
        self._version = prompt_version
        self._rules = _read(Path(file).expanduser())

    def identity(self, question: AnyQuestion) -> str:
        prompt = render(question, self._version)
        return content_hash(self.name, [rule.model_dump() for rule in self._rules], prompt.system, prompt.user)

    def ask(self, question: AnyQuestion) -> Judgement:
        prompt = render(question, self._version)
        rule = next((rule for rule in self._rules if rule.fits(question)), None)
        if rule is None:
            return Judgement("refused", None, "no rule fits the question", "")
        raw = rule.raw(prompt)
        try:
            answer = parse_reply(raw, prompt)
        except UnparsedError as error:
            return Judgement("unparsed", None, str(error), raw)
        return Judgement("ok", answer.verdict, answer.reason, raw, confidence=answer.confidence, answer=answer.answer)

    def close(self) -> None:
        """Nothing is held."""


def _read(path: Path) -> list[_Rule]:
    try:
        return TypeAdapter(list[_Rule]).validate_python(parse_yaml(read_text(path), str(path)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        raise DataError(f"{path}: rule {place}: {first['msg']}") from None
