"""The offline judge: a rule that a reader can state in a sentence.

A neuron carries a concept if at least four of its twenty strongest tokens, a fifth, are words of the concept, where
case, spaces and quotes around a word don't count, and every token counts, spelling variants too.
"""

from __future__ import annotations

from cotlens.files import content_hash
from cotlens.judge.protocol import AnyQuestion, Form, Judgement, Question
from cotlens.judge.words import normalise

__all__ = ["LexiconJudge"]


class LexiconJudge:
    """Says yes when at least a fifth of the tokens are words of the concept."""

    name = "lexicon"
    forms: frozenset[Form] = frozenset({"concept"})
    remote = False
    cached = False
    share = 0.2

    def identity(self, question: AnyQuestion) -> str:
        assert isinstance(question, Question)
        return content_hash(self.name, self.share, question.concept, sorted(question.words), question.tokens)

    def ask(self, question: AnyQuestion) -> Judgement:
        assert isinstance(question, Question)
        found = [token for token in question.tokens if normalise(token) in question.words]
        verdict = len(found) >= self.share * len(question.tokens)
        words = ", ".join(dict.fromkeys(normalise(token) for token in found)) or "none"
        reason = f"{len(found)} of {len(question.tokens)} tokens are words of {question.concept!r}: {words}"
        return Judgement("ok", verdict, reason, raw=reason)

    def close(self) -> None:
        """Nothing is held."""
