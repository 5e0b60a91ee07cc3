"""A model on this machine as judge: it says yes if it gives that answer the higher probability.

Nothing is generated and nothing is parsed, so that a base model can judge too. With a chat template the question goes
through it; else it is plain text that ends in ``Answer:``. The probability of an answer is that of its spellings, upper
and lower case, together.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from cotlens.config import LabelConfig
from cotlens.files import content_hash
from cotlens.judge.prompt import Prompt, words_only
from cotlens.judge.protocol import AnyQuestion, Form, Judgement
from cotlens.model.language_model import LanguageModel
from cotlens.model.load import load_model
from cotlens.model.shared_prefix import Prefixes, RowBatch
from cotlens.model.source import resolve_model

__all__ = ["LocalJudge", "YesNo", "yes_and_no"]

_ANSWERS = (("yes", "Yes"), ("no", "No"))
#: Tokens left for the answer.
_ROOM = 8


class YesNo(NamedTuple):
    """Log-probabilities of the two answers."""

    yes: float
    no: float


class LocalJudge:
    """Judges as ``hf/MODEL``; the model is loaded when the first question is asked."""

    forms: frozenset[Form] = frozenset({"concept", "detection"})
    remote = False
    cached = True

    def __init__(self, model: str, settings: LabelConfig, device: str = "auto", dtype: str = "float32") -> None:
        self.name = f"hf/{model}"
        self._model, self._device, self._dtype = model, device, dtype
        self._version = settings.prompt_version
        self._source = resolve_model(model)

    def identity(self, question: AnyQuestion) -> str:
        prompt = words_only(question, self._version)
        return content_hash(self._fingerprint, self._dtype, self._version, prompt.user)

    def ask(self, question: AnyQuestion) -> Judgement:
        found = self._read(question)
        if isinstance(found, str):
            return Judgement("failed", None, found, "", lasting=True)
        reason = f"log-probability {found.yes:.2f} for yes, {found.no:.2f} for no"
        share = 1 / (1 + math.exp(max(-700.0, min(700.0, found.no - found.yes))))
        return Judgement("ok", found.yes > found.no, reason, raw=reason, confidence=max(share, 1 - share))

    def _read(self, question: AnyQuestion) -> YesNo | str:
        """The two log-probabilities, or why there are none."""
        prompt = words_only(question, self._version)
        text = self._text(prompt)
        ids = self._lm.encode(text, special_tokens=not self._chats)
        room = (self._lm.context_length or len(ids) + _ROOM) - _ROOM
        if len(ids) > room:
            return f"the question has {len(ids)} tokens, the judge reads {room}"
        return yes_and_no(self._lm, ids, space=not self._chats)

    def close(self) -> None:
        """Let the model go."""
        self.__dict__.pop("_lm", None)

    @cached_property
    def _fingerprint(self) -> str:
        return str(self._source.fingerprint()["fingerprint"])

    @cached_property
    def _lm(self) -> LanguageModel:
        return load_model(self._model, self._device, self._dtype)

    @cached_property
    def _chats(self) -> bool:
        return bool(getattr(self._lm.tokenizer, "chat_template", None))

    def _text(self, prompt: Prompt) -> str:
        if not self._chats:
            return f"{prompt.user}\nAnswer:"
        message = [{"role": "user", "content": prompt.user}]
        return str(self._lm.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


@torch.inference_mode()
def yes_and_no(lm: LanguageModel, ids: list[int], space: bool) -> YesNo:
    """Log-probability of either answer after the text ``ids``.

    Args:
        lm: the model.
        ids: the question.
        space: whether a space comes before the answer.
    """
    spellings = [[lm.encode(" " * space + word, special_tokens=False) for word in words] for words in _ANSWERS]
    begun = sorted({tuple(tokens[:n]) for found in spellings for tokens in found for n in range(len(tokens))})
    rows = RowBatch(lm, Prefixes(lm, ids[:-1]), slots=len(begun), columns=1 + max(map(len, begun)))
    logits = rows.begin([[ids[-1], *start] for start in begun], groups=[0] * len(begun))
    following = dict(zip(begun, torch.log_softmax(logits.float(), dim=-1), strict=True))  # each [V]

    def log_probability(tokens: list[int]) -> Tensor:
        return torch.stack([following[tuple(tokens[:n])][token] for n, token in enumerate(tokens)]).sum()

    return YesNo(*(float(torch.stack(list(map(log_probability, found))).logsumexp(dim=0)) for found in spellings))
