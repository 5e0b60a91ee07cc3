"""A server's completion as the local engine would have given it: its tokens, its text, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.errors import EnvironmentFault, InputError
from cotlens.generate.server_messages import Choice, Reply
from cotlens.generate.stopping import Stopped, StopRule
from cotlens.model.language_model import LanguageModel
from cotlens.types import Completion, StopReason

__all__ = ["prompt_text", "read_reply"]

_SAME_MODEL = "serve the very model and tokenizer that model.name has here"


def read_reply(
    lm: LanguageModel, prompt_ids: Sequence[int], reply: Reply, max_new_tokens: int, stop: Sequence[str], name: str
) -> Completion:
    """The completion in ``reply``; ``name`` is what a message calls its question.

    Token ids that the server gives are taken, and text is tokenised here as the continuation of its prompt. Either way
    ids and text must agree.

    Raises:
        InputError: they do not, or the server read another prompt.
        EnvironmentFault: the server ended the completion too early.
    """
    choice, prompt = reply.choice, list(prompt_ids)
    if choice.prompt_token_ids is not None and choice.prompt_token_ids != prompt:
        raise InputError(f"{name}: the server splits the prompt into other tokens than here; {_SAME_MODEL}")
    stop = tuple(text for text in stop if text)
    ids = _given_ids(lm, prompt, choice, stop, name)
    if ids is None:
        ids = _tokenise(lm, prompt, choice.text, name)
    # Its own limit would mistake a text that splits into more tokens here.
    rule = StopRule(lm, stop, max_new_tokens=len(ids) + 1)
    found = next((s for count in range(1, len(ids) + 1) if (s := rule.check(ids[:count]))), None)
    if found is None:
        found = Stopped(tuple(ids), lm.decode(ids), _reason(lm, reply, ids, stop))
    if found.reason == "length":
        _check_length(reply, max_new_tokens, name)
    return Completion(tuple(prompt), found.token_ids, found.text, found.reason)


def prompt_text(lm: LanguageModel, ids: Sequence[int]) -> tuple[str, bool]:
    """The text that is encoded as ``ids``, and whether the tokenizer puts special tokens before it.

    Raises:
        InputError: no text is.
    """
    special = set(lm.tokenizer.all_special_ids)
    begin = next((place for place, token in enumerate(ids) if token not in special), len(ids))
    for start, adds_special in ((begin, True), (0, True), (0, False)):
        text = lm.decode(list(ids[start:]))
        if lm.encode(text, adds_special) == list(ids):
            return text, adds_special
    raise InputError("a prompt has no text that the tokenizer reads as its tokens; use a server that takes token ids")


def _given_ids(
    lm: LanguageModel, prompt: list[int], choice: Choice, stop: Sequence[str], name: str
) -> list[int] | None:
    """The ids in the reply, without an end token; None where there are none."""
    if choice.token_ids is None:
        return None
    ids = list(choice.token_ids)
    if ids and ids[-1] in lm.stop_ids:
        ids.pop()
    if not all(0 <= token < lm.input_vocabulary for token in ids):
        raise InputError(f"{name}: the server gives token ids that the model here has not got; {_SAME_MODEL}")
    text = _before(choice.text, stop)
    # A server may hold back a character whose last bytes never came, and leave out special tokens.
    if not any(
        _before(reading, stop).rstrip("\ufffd") == text.rstrip("\ufffd") for reading in _readings(lm, prompt, ids)
    ):
        raise InputError(f"{name}: the server's token ids do not decode to its text here; {_SAME_MODEL}")
    return ids


def _tokenise(lm: LanguageModel, prompt: list[int], text: str, name: str) -> list[int]:
    """The ids of ``text``: of prompt and text together where they begin with the prompt's own, else by itself."""
    if not text:
        return []
    fault = f"{name}: the server's text does not survive the tokenizer here ({text[-40:]!a} at its end)"
    if "\ufffd" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(f"{fault}: it holds a piece of a character; use a server that gives token ids, such as vLLM")
    before, adds_special = prompt_text(lm, prompt)
    together = lm.encode(before + text, adds_special)
    ways = [together[len(prompt) :]] if together[: len(prompt)] == prompt else []
    for ids in [*ways, lm.encode(text, special_tokens=False)]:
        if text in _readings(lm, prompt, ids):
            return ids
    raise InputError(f"{fault}; {_SAME_MODEL}, or use a server that gives token ids, such as vLLM")


def _readings(lm: LanguageModel, prompt: list[int], ids: list[int]) -> list[str]:
    """What a server may give as the text of ``ids``: by themselves, after the prompt, without special tokens."""
    before, both = lm.decode(prompt), lm.decode(prompt + ids)
    readings = [lm.decode(ids), lm.decode([i for i in ids if i not in set(lm.tokenizer.all_special_ids)])]
    return [*readings, both.removeprefix(before)] if both.startswith(before) else readings


def _before(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first of the stop strings."""
    return text[: min((place for one in stop if (place := text.find(one)) >= 0), default=len(text))]


def _reason(lm: LanguageModel, reply: Reply, ids: list[int], stop: Sequence[str]) -> StopReason:
    """Why a completion ended whose text holds no stop string; the server may have cut one off.

    Where it does not say so it may count: an end token is one beyond those of the text, a stop string is several.
    """
    if reply.choice.finish_reason == "length":
        return "length"
    if not stop:
        return "eos"
    if reply.choice.stopped_by is not None:
        return reply.choice.stopped_by
    counted = reply.completion_tokens
    shortest = min(len(lm.encode(text, special_tokens=False)) for text in stop)
    return "eos" if counted is not None and counted <= len(ids) + 1 and shortest > 1 else "stop"


def _check_length(reply: Reply, max_new_tokens: int, name: str) -> None:
    given = reply.choice.token_ids
    count = reply.completion_tokens if given is None else len(given)
    if count is not None and count < max_new_tokens:
        raise EnvironmentFault(
            f"{name}: the server broke off after {count} of {max_new_tokens} tokens; give it room for the longest "
            "prompt and generate.max_new_tokens (vLLM: --max-model-len)"
        )
