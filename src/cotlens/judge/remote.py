"""A judge behind a server: the question as text, the reply read strictly, asked once more where it can't be read."""

from __future__ import annotations

import threading
from dataclasses import replace

from cotlens.credentials import redact
from cotlens.errors import InputError
from cotlens.files import content_hash
from cotlens.judge.calls import Calls, GaveUpError, Spent
from cotlens.judge.chat import ChatReply, ChatRequest, Message, Provider
from cotlens.judge.faults import RefusedFault, UnsupportedFault
from cotlens.judge.parsing import UnparsedError, parse_reply
from cotlens.judge.prompt import Prompt, again, render
from cotlens.judge.protocol import AnyQuestion, Form, Judgement, Status

__all__ = ["RemoteJudge", "most_tokens"]

#: Tokens that a server may add to a request: roles, and the schema in its own words.
_OVERHEAD = 1000
#: Groups of names are longer than a verdict: so many tokens of reply per name.
_PER_NAME = 16


class RemoteJudge:
    """Puts questions to a `Provider`. ``server`` tells servers apart that have models of one name."""

    forms: frozenset[Form] = frozenset({"concept", "detection", "naming", "merge"})
    remote = True
    cached = True

    def __init__(
        self,
        name: str,
        provider: Provider,
        calls: Calls,
        server: str = "",
        prompt_version: int = 1,
        temperature: float = 0.0,
        max_reply_tokens: int = 300,
    ) -> None:
        self.name = name
        self._provider, self._calls, self._server = provider, calls, server
        self._version, self._temperature, self._max_reply_tokens = prompt_version, temperature, max_reply_tokens
        self._options = provider.options
        self._lock = threading.Lock()

    def identity(self, question: AnyQuestion) -> str:
        prompt = render(question, self._version)
        return content_hash(
            self.name, self._server, self._temperature, self._max_reply_tokens, self._version,
            prompt.system, prompt.user, prompt.schema,
        )  # fmt: skip

    def ask(self, question: AnyQuestion) -> Judgement:
        prompt = render(question, self._version)
        messages = [Message("system", prompt.system), Message("user", prompt.user)]
        spent = Spent()
        raw, problem = "", ""
        for _ in range(2):
            try:
                reply = self._send(tuple(messages), prompt, spent)
            except RefusedFault as fault:
                return self._judgement("refused", str(fault), raw, spent)
            except GaveUpError as error:
                return self._judgement("failed", str(error), raw, spent)
            raw = redact(reply.text)
            if reply.end == "refused" or (reply.end == "complete" and not raw.strip()):
                return self._judgement("refused", "the judge gave no answer", raw, spent)
            try:
                if reply.end == "cut":
                    raise UnparsedError("it was cut off at the longest length allowed (label.max_reply_tokens)")
                answer = parse_reply(raw, prompt)
            except UnparsedError as error:
                problem = str(error)
                messages += [Message("assistant", raw or "…"), Message("user", again(prompt, problem, self._version))]
            else:
                said = self._judgement("ok", answer.reason, raw, spent)
                return _with_answer(said, answer.verdict, answer.answer, answer.confidence)
        return self._judgement("unparsed", problem, raw, spent)

    def close(self) -> None:
        self._provider.close()

    def _send(self, messages: tuple[Message, ...], prompt: Prompt, spent: Spent) -> ChatReply:
        length = self._max_reply_tokens + _PER_NAME * len(prompt.names)
        messages = tuple(Message(role, _sendable(content)) for role, content in messages)
        while True:
            options = self._options
            request = ChatRequest(messages, prompt.schema, length, self._temperature, options)
            try:
                return self._calls.make(lambda r=request: self._provider.send(r), most_tokens(request), spent)  # type: ignore[misc]
            except UnsupportedFault as fault:
                with self._lock:
                    if self._options is not options:
                        continue  # another question met the same refusal a moment ago
                    changed = options.without(fault.parameter)
                    if changed is None:
                        raise InputError(f"judge {self.name}: {fault}") from None
                    self._options = changed

    def _judgement(self, status: Status, reason: str, raw: str, spent: Spent) -> Judgement:
        return Judgement(
            status, None, redact(reason), raw,
            tokens=spent.input_tokens + spent.output_tokens,
            cost_usd=spent.cost_usd if self._calls.price else None,
            input_tokens=spent.input_tokens, output_tokens=spent.output_tokens, calls=spent.calls,
            adapted=self._options.adapted,
        )  # fmt: skip


def most_tokens(request: ChatRequest) -> tuple[int, int]:
    """The most tokens that a request can have in and out: no token is shorter than a byte."""
    size = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in request.messages)
    return size + len(str(request.schema)) + _OVERHEAD, request.max_tokens


def _sendable(text: str) -> str:
    """``text`` without lone surrogates, which a reply may hold and a request may not."""
    return text.encode("utf-8", "replace").decode()


def _with_answer(
    said: Judgement, verdict: bool | None, answer: str | tuple[tuple[str, ...], ...] | None, confidence: float | None
) -> Judgement:
    return replace(said, verdict=verdict, answer=answer, confidence=confidence)
