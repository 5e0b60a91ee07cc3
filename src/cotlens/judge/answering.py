"""All questions of a judge: what was answered before is looked up, the rest is asked, each question once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cotlens.judge.book import Asked, Book, Record, reply_identity
from cotlens.judge.cache import ReplyCache
from cotlens.judge.ledger import Stop
from cotlens.judge.protocol import Judge
from cotlens.judge.workers import in_parallel
from cotlens.types import Progress, Silent

__all__ = ["Desk", "Open", "open_questions"]


@dataclass(frozen=True, slots=True)
class Open:
    """A question that has no reply yet, and all who wait for it."""

    identity: str
    askers: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where replies are written down, looked up and waited for."""

    book: Book
    cache: ReplyCache = field(default_factory=lambda: ReplyCache(None))
    stop: Stop = field(default_factory=Stop)
    concurrency: int = 8
    progress: Progress = field(default_factory=Silent)

    def answer(self, judge: Judge, questions: Sequence[Asked]) -> list[Record]:
        """The replies to ``questions``, in their order.

        Raises:
            JudgeStoppedError: the judge can't go on; what was answered is written down.
        """
        identities = [reply_identity(judge, asked) for asked in questions]
        left = open_questions(self, judge, questions, identities)
        self.progress.advance(len(questions) - sum(len(question.askers) for question in left))
        for answered in self._ask(judge, left):
            self.progress.advance(answered)
        records = [self.book.entry(judge, *pair) for pair in zip(questions, identities, strict=True)]
        return [record for record in records if record is not None]

    def _ask(self, judge: Judge, left: Sequence[Open]) -> Iterator[int]:
        def ask(question: Open) -> int:
            judgement = judge.ask(question.askers[0].question)
            for place, asked in enumerate(question.askers):
                self.book.write(judge, asked, question.identity, judgement, "judge" if place == 0 else "same question")
            if judge.cached:
                self.cache.put(question.identity, judgement)
            return len(question.askers)

        if judge.remote:
            yield from in_parallel(ask, left, self.concurrency, self.stop)
        else:
            yield from map(ask, left)


def open_questions(
    desk: Desk, judge: Judge, questions: Sequence[Asked], identities: Sequence[str], write: bool = True
) -> list[Open]:
    """The questions without a reply, those that are the same taken together.

    With ``write``, a reply that was found is written down for everyone who asks for it.
    """
    waiting: dict[str, list[Asked]] = {}
    for asked, identity in zip(questions, identities, strict=True):
        if desk.book.entry(judge, asked, identity) is not None:
            continue
        reply, source = desk.book.reply(identity), "same question"
        if reply is None and judge.cached:
            reply, source = desk.cache.get(identity), "cache"
        if reply is None:
            waiting.setdefault(identity, []).append(asked)
        elif write:
            desk.book.write(judge, asked, identity, reply, source)
    return [Open(identity, tuple(askers)) for identity, askers in waiting.items()]
