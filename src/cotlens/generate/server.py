"""Completions from a running server with OpenAI's completions interface, in the place of the local engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cotlens.config import GenerateConfig
from cotlens.errors import ConfigError, EnvironmentFault, InputError
from cotlens.generate.server_connection import RequestRefusedError
from cotlens.generate.server_messages import EXTRAS, Request
from cotlens.generate.server_replies import prompt_text, read_reply
from cotlens.generate.server_thread import cancel, connected, next_ended, result, sent
from cotlens.model.language_model import LanguageModel
from cotlens.types import Completion

__all__ = ["Server", "complete_by_server", "connect", "find_model"]

logger = logging.getLogger(__name__)

_AT_ONCE = 16
_PROBE = "1 + 1 ="


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answered, and how to ask it."""

    url: str
    model: str
    """The model's name there."""
    takes_ids: bool
    """Prompts go as token ids; else as text."""
    gives_ids: bool
    """Completions come with their token ids; else as text alone."""
    takes_extras: bool
    """It takes more parameters than OpenAI's own."""
    at_once: int = _AT_ONCE
    """Most requests at a time."""

    def request(self, lm: LanguageModel, ids: Sequence[int], max_tokens: int, stop: Sequence[str] = ()) -> Request:
        """What is sent for the prompt ``ids``."""
        prompt = list(ids) if self.takes_ids else _sendable_text(lm, ids)
        return Request(self.model, prompt, max_tokens, stop, EXTRAS if self.takes_extras else {})

    def description(self, lm: LanguageModel) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "server": self.url,
            "server_model": self.model,
            "local_model": lm.name,
            "prompts_sent_as": "token ids" if self.takes_ids else "text",
            "completions_read_from": "token ids" if self.gives_ids else "text",
        }


def find_model(config: GenerateConfig) -> str:
    """The name of the model that is to be asked; for this, the server must answer.

    Raises:
        EnvironmentFault: no server answers, it refuses the key, or has no such model.
        ConfigError: it offers several models, and none is named.
    """
    assert config.server is not None
    with connected(config.server) as (portal, connection):
        offered = result(portal.start_task_soon(connection.models))
    wanted, listed = config.server_model, ", ".join(offered or ()) or "none that it names"
    if wanted is not None:
        if offered and wanted not in offered:
            raise EnvironmentFault(f"{config.server}: no model {wanted!r} (generate.server_model); it offers {listed}")
        return wanted
    if not offered or len(offered) > 1:
        raise ConfigError(f"{config.server} offers these models: {listed}; name one as generate.server_model")
    return offered[0]


def connect(lm: LanguageModel, config: GenerateConfig) -> Server:
    """Find out how the server is to be asked, with a prompt of a few tokens.

    Raises:
        CotlensError: as `find_model`, or the server takes no request for completions.
    """
    assert config.server is not None
    model, at_once = find_model(config), config.batch_size or _AT_ONCE
    ways = [
        Server(config.server, model, takes_ids, False, extras, at_once)
        for takes_ids, extras in ((True, True), (True, False), (False, True), (False, False))
    ]
    refused: list[RequestRefusedError] = []
    ids = lm.encode(_PROBE)
    with connected(config.server) as (portal, connection):
        for way in ways:
            try:
                reply = result(portal.start_task_soon(connection.ask, way.request(lm, ids, 1)))
            except RequestRefusedError as error:
                refused.append(error)
                continue
            as_here = reply.prompt_tokens in (None, len(ids))
            if as_here or not way.takes_ids:
                if not way.takes_ids:
                    _warn_of_text(way, as_here)
                return replace(way, gives_ids=reply.choice.token_ids is not None)
    raise refused[0]


def complete_by_server(
    server: Server,
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Sequence[str],
    names: Sequence[str] | None = None,
) -> Iterator[tuple[int, Completion]]:
    """As `cotlens.generate.engine.complete`, by the server: each completion with its prompt's index, as it arrives.

    ``lm`` is the same model here, which tokenises. ``names`` is what messages call the prompts. When one fails, those
    before it are still waited for.

    Raises:
        InputError: a completion that the local tokenizer reads otherwise, or a prompt that the server would.
        EnvironmentFault: the server fails, and goes on failing.
    """
    if not prompts:
        return
    names = names or [f"prompt {index}" for index in range(len(prompts))]
    requests = [server.request(lm, ids, max_new_tokens, stop) for ids in prompts]
    failed: InputError | EnvironmentFault | None = None
    waiting = set(range(len(prompts)))
    with sent(server.url, server.at_once, requests) as (futures, ended):
        while waiting:
            future = next_ended(ended)
            index = futures.index(future)
            if index not in waiting:
                continue
            waiting.discard(index)
            try:
                completion = read_reply(lm, prompts[index], future.result(), max_new_tokens, stop, names[index])
            except (InputError, EnvironmentFault) as error:
                refused = isinstance(error, RequestRefusedError)
                failed = RequestRefusedError(f"{names[index]}: {error}") if refused else error
                waiting = {place for place in waiting if place < index}
                cancel(futures[index + 1 :])
                continue
            yield index, completion
    if failed is not None:
        raise failed


def _warn_of_text(server: Server, as_here: bool) -> None:
    logger.warning(
        "generate: %s takes prompts as text, not as token ids%s",
        server.url,
        "" if as_here else ", and splits them into other tokens than the model here: compare the models",
    )


def _sendable_text(lm: LanguageModel, ids: Sequence[int]) -> str:
    text, adds_special = prompt_text(lm, ids)
    if not adds_special:
        raise InputError(
            "the server takes prompts as text alone, and would put special tokens before this one that it does not "
            "have; use a server that takes token ids, such as vLLM"
        )
    return text
