"""What a judge is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "AnyQuestion",
    "DetectionQuestion",
    "Form",
    "Judge",
    "Judgement",
    "MergeQuestion",
    "NamingQuestion",
    "Question",
    "Status",
]

#: What kind of answer a question wants: yes or no from tokens, yes or no from a text, a name, groups of names.
Form = Literal["concept", "detection", "naming", "merge"]
#: ``ok``: a verdict. ``refused``: none was given. ``unparsed``: none could be read. ``failed``: no reply came.
Status = Literal["ok", "refused", "unparsed", "failed"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a judge: does a neuron that promotes ``tokens`` carry the concept?

    ``tokens`` are the texts of the promoted tokens, strongest first; ``opposite``, where they are shown too, those
    that it suppresses. ``words`` is the concept's vocabulary, which the offline judge goes by; ``text`` is the question
    in words, for a judge that reads, with ``description`` and ``negatives`` (what does not count) where there are any.
    """

    concept: str
    text: str
    words: frozenset[str]
    tokens: tuple[str, ...]
    opposite: tuple[str, ...] = ()
    description: str = ""
    negatives: tuple[str, ...] = ()
    form: Form = "concept"


@dataclass(frozen=True, slots=True)
class NamingQuestion:
    """Which concept does a neuron that promotes ``tokens`` carry? The answer is a name, or that there is none."""

    tokens: tuple[str, ...]
    opposite: tuple[str, ...] = ()
    concept: str = ""
    form: Form = "naming"


@dataclass(frozen=True, slots=True)
class MergeQuestion:
    """Which of these names of concepts mean the same?"""

    names: tuple[str, ...]
    concept: str = ""
    form: Form = "merge"


@dataclass(frozen=True, slots=True)
class DetectionQuestion:
    """Would a neuron labelled with a concept be active at one token of a text?

    ``name`` and ``description`` say what the concept is; ``before``, ``token`` and ``after`` are the text.
    """

    concept: str
    name: str
    description: str
    before: str
    token: str
    after: str
    form: Form = "detection"


AnyQuestion = Question | NamingQuestion | MergeQuestion | DetectionQuestion


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's reply. Without the status ``ok`` there is neither verdict nor answer; a failure never becomes one.

    ``answer`` is the name, or the groups of names, that were asked for; ``confidence`` lies between 0 and 1.
    ``tokens`` is the sum of ``input_tokens`` and ``output_tokens``. ``cost_usd`` is None where the price is unknown.
    ``calls`` counts what was sent. ``adapted`` names request parameters that the server did not take. ``lasting`` marks
    a failure that asking again would only repeat.
    """

    status: Status
    verdict: bool | None
    reason: str
    raw: str
    tokens: int = 0
    cost_usd: float | None = 0.0
    confidence: float | None = None
    answer: str | tuple[tuple[str, ...], ...] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    adapted: tuple[str, ...] = ()
    lasting: bool = False


class Judge(Protocol):
    """Answers questions. ``name`` identifies it in every record, ``forms`` are the questions that it can answer.

    A ``remote`` judge waits for a server, so several questions are put to it at once; any other is asked one by one.
    The replies of a ``cached`` one are kept for other runs.
    """

    name: str
    forms: frozenset[Form]
    remote: bool
    cached: bool

    def identity(self, question: AnyQuestion) -> str:
        """A hash of all that the reply depends on: questions that share it share a reply."""
        ...

    def ask(self, question: AnyQuestion) -> Judgement:
        """Answer one question.

        Raises:
            JudgeStoppedError: no further question can be answered for now.
        """
        ...

    def close(self) -> None:
        """Let go of connections and the like."""
        ...
