"""How fast the work could be at best: its multiplications at the measured rate, or its weights at that of memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Bare:
    """What the machine did in this run, in fp32."""

    gflops: float
    copy_gb_s: float


@dataclass(frozen=True, slots=True)
class Decoder:
    """The sizes of a gated decoder such as Llama."""

    layers: int
    d_model: int
    d_ff: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether the unembedding is the embedding."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the ``config.json`` of a checkpoint."""
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        heads = int(config["num_attention_heads"])
        return cls(
            int(config["num_hidden_layers"]),
            int(config["hidden_size"]),
            int(config["intermediate_size"]),
            heads,
            int(config.get("num_key_value_heads") or heads),
            int(config.get("head_dim") or config["hidden_size"] // heads),
            int(config["vocab_size"]),
            bool(config.get("tie_word_embeddings")),
        )

    @property
    def weights(self) -> int:
        """Entries of all layers' matrices, embeddings left out."""
        attention = self.d_model * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.d_model * self.d_ff)

    @property
    def head_weights(self) -> int:
        """Entries of the unembedding."""
        return self.vocabulary * self.d_model

    @property
    def table_weights(self) -> int:
        """Entries of the embedding and the unembedding."""
        return self.head_weights * (1 if self.tied else 2)

    def token_flop(self, context: float) -> float:
        """Of one token that attends to ``context`` others; the unembedding left out."""
        return 2 * self.weights + 4 * self.layers * self.heads * self.head_dim * context


def prefix_floor(decoder: Decoder, bare: Bare, prefix: int) -> float:
    """Seconds to read one prefix."""
    return _seconds(prefix * decoder.token_flop(prefix / 2), bare)


def suffix_floor(decoder: Decoder, bare: Bare, prefix: int, suffixes: Sequence[int], logits: bool = False) -> float:
    """Seconds to read each suffix after the prefix; with ``logits``, those that follow its last token too."""
    flop = sum(length * decoder.token_flop(prefix + length / 2) for length in suffixes)
    return _seconds(flop + logits * len(suffixes) * 2 * decoder.head_weights, bare)


def reading_floor(decoder: Decoder, bare: Bare, prefix: int, suffixes: Sequence[int]) -> float:
    """Seconds to read one prefix, and each suffix after it, without logits."""
    return prefix_floor(decoder, bare, prefix) + suffix_floor(decoder, bare, prefix, suffixes)


def decoding_floor(
    decoder: Decoder, bare: Bare, prefix: int, suffixes: Sequence[int], generated: Sequence[int]
) -> float:
    """Seconds to generate what comes after the first token of each row, every row of a step at once: in each step the
    multiplications, or the reading of all weights, whichever takes longer. The last token of a row is not read."""
    weights_s = 4 * (decoder.weights + decoder.head_weights) / (bare.copy_gb_s * 1e9)
    seconds = 0.0
    for step in range(1, max(generated, default=0)):
        contexts = [prefix + own + step for own, length in zip(suffixes, generated, strict=True) if length > step]
        flop = sum(decoder.token_flop(context) + 2 * decoder.head_weights for context in contexts)
        seconds += max(_seconds(flop, bare), weights_s)
    return seconds


def generation_floor(
    decoder: Decoder, bare: Bare, prefix: int, suffixes: Sequence[int], generated: Sequence[int]
) -> float:
    """Seconds to read the prompts and generate."""
    reading = prefix_floor(decoder, bare, prefix) + suffix_floor(decoder, bare, prefix, suffixes, logits=True)
    return reading + decoding_floor(decoder, bare, prefix, suffixes, generated)


def memory_floor_mib(decoder: Decoder, prefix: int) -> float:
    """MiB in fp32 of what reading many texts can't do without: the weights, and the prefix's keys and values."""
    states = 2 * decoder.layers * decoder.kv_heads * decoder.head_dim * prefix
    return 4 * (decoder.weights + decoder.table_weights + states) / 2**20


def _seconds(flop: float, bare: Bare) -> float:
    return flop / (bare.gflops * 1e9)
