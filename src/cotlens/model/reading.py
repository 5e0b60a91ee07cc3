"""How a model reads a text: its tokenizer, what ends a text, and how long it may be. No weights, and no torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cotlens.model.facts import read_config
from cotlens.model.gguf_header import read_gguf_header
from cotlens.model.meta_params import read_params
from cotlens.model.source import ModelSource

__all__ = [
    "PromptReader",
    "ReadsPrompts",
    "context_length",
    "declared_ends",
    "decode",
    "encode",
    "end_ids",
    "stated_context",
]

#: What architectures call the longest text in ``config.json``.
_CONTEXT = ("max_position_embeddings", "n_positions")
#: Names of Phi-3's way of reading long texts.
_LONG_ROPE = ("longrope", "su")


class ReadsPrompts(Protocol):
    """What of a model its prompts depend on: a loaded model, or a `PromptReader`."""

    @property
    def tokenizer(self) -> Any:
        """A transformers tokenizer."""
        ...

    @property
    def context_length(self) -> int | None:
        """Longest text in tokens; None where the model doesn't say."""
        ...

    def encode(self, text: str, special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``, with the special tokens that the tokenizer puts before it unless told otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class PromptReader:
    """A model's tokenizer and context, without its weights."""

    tokenizer: Any
    stop_ids: frozenset[int]
    context_length: int | None

    def encode(self, text: str, special_tokens: bool = True) -> list[int]:
        """As `LanguageModel.encode`."""
        return encode(self.tokenizer, self.stop_ids, text, special_tokens)


def encode(tokenizer: Any, stop_ids: frozenset[int], text: str, special_tokens: bool) -> list[int]:
    """Token ids of a ``text`` that is to be continued."""
    ids: list[int] = list(tokenizer(text, add_special_tokens=special_tokens)["input_ids"])
    # A tokenizer made for sentence pairs closes a text with an end token; a prompt is to be continued.
    while len(ids) > 1 and ids[-1] in stop_ids and not text.endswith(decode(tokenizer, ids[-1:])):
        ids = ids[:-1]
    return ids


def decode(tokenizer: Any, ids: list[int]) -> str:
    """The exact text of ``ids``, special tokens included."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def end_ids(tokenizer: Any, declared: Any) -> frozenset[int]:
    """Token ids that end a text: those ``declared`` by the model's settings, and the tokenizer's own."""
    ids = set(declared) if isinstance(declared, list | tuple) else {declared}
    ids.add(tokenizer.eos_token_id)
    return frozenset(int(i) for i in ids if i is not None)


def context_length(settings: Mapping[str, Any]) -> int | None:
    """Longest text in tokens, by the settings of a model's text part.

    Long-context Phi-3 turns every key anew once a text is longer than its original context; a prefix computed before
    would no longer fit, so the original context counts.
    """
    length = next((settings[name] for name in _CONTEXT if settings.get(name)), None)
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) in _LONG_ROPE:
        original = "original_max_position_embeddings"
        length = rope.get(original) or settings.get(original) or length
    return int(length) if length else None


def stated_context(source: ModelSource) -> int | None:
    """Longest text in tokens, where the files of ``source`` state it."""
    if source.gguf_file is not None:
        header = read_gguf_header(source.folder / source.gguf_file)
        length = header.get(f"{header.get('general.architecture')}.context_length")
        return int(length) if length else None
    if source.kind == "meta":
        return read_params(source.folder).context_length
    config = read_config(source.folder)
    nested = config.get("text_config")
    return context_length({**config, **nested} if isinstance(nested, dict) else config)


def declared_ends(source: ModelSource) -> Any:
    """The token ids that the settings beside the weights name as ends of a text."""
    if source.kind != "safetensors":
        return None
    try:
        stated = json.loads((source.folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stated = read_config(source.folder)
    return stated.get("eos_token_id") if isinstance(stated, dict) else None
