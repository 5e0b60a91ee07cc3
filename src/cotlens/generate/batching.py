"""How many rows go through the model together: as many as pay, and fit in memory."""

from __future__ import annotations

import contextlib
import math
import time
from weakref import WeakKeyDictionary

import torch

from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import free_bytes, is_out_of_memory
from cotlens.model.packed_weights import PackedWeights

__all__ = ["choose_batch_size", "rows_that_fit", "rows_that_pay"]

_SHARE = 0.4  # of the free memory; the rest is for what can't be foreseen
_LEAST = 16  # pays everywhere
_MOST = 1024
_GAIN = 1.1  # a larger batch must be so many times as fast

_timed: WeakKeyDictionary[LanguageModel, dict[tuple[int, bool], float]] = WeakKeyDictionary()


def choose_batch_size(
    lm: LanguageModel,
    suffix_length: int,
    max_new_tokens: int,
    prefix_length: int,
    rows: int,
    groups: int = 1,
    packed: PackedWeights | None = None,
) -> int:
    """Rows per forward pass for ``rows`` in all, of so many different edits, decoded with ``packed`` weights."""
    fitting = min(rows, rows_that_fit(lm, suffix_length, max_new_tokens, prefix_length, groups / rows))
    return fitting if fitting <= _LEAST else rows_that_pay(lm, rows, fitting, packed)


def rows_that_fit(
    lm: LanguageModel, suffix_length: int, max_new_tokens: int, prefix_length: int, prefixes_per_row: float
) -> int:
    """From the free memory and what a row needs for cache, scores and activations; at least 1."""
    config = lm.model.config.get_text_config()
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    head_dim = int(getattr(config, "head_dim", None) or lm.d_model // heads)
    token = 2 * lm.n_layers * kv_heads * head_dim * lm.dtype.itemsize  # bytes in the cache
    # Where the prefix can't be shared, each row has a copy of it; a batch of several interventions holds theirs twice.
    prefix = 2 * prefixes_per_row if lm.shares_prefix else 1 + prefixes_per_row
    cache = token * (suffix_length + max_new_tokens + prefix * prefix_length)
    scores = 2 * heads * suffix_length * (prefix_length + suffix_length) * 4
    activations = 4 * suffix_length * max(lm.d_ff, lm.d_model) * lm.dtype.itemsize
    logits = 2 * lm.unembedding.shape[0] * lm.dtype.itemsize
    return max(1, int(_SHARE * free_bytes(lm.device) / (cache + scores + activations + logits)))


def rows_that_pay(lm: LanguageModel, rows: int, most: int, packed: PackedWeights | None = None) -> int:
    """With how many at a time, at most ``most``, all rows are through soonest.

    Each size is timed once per model with ``packed`` weights, and once without; one that does not fit in memory is not
    chosen.
    """
    most = min(most, _MOST)

    def seconds(size: int) -> float:
        return math.ceil(rows / size) * _step_s(lm, size, packed)

    size = min(_LEAST, most)
    while size < most:
        larger = min(2 * size, most)
        if math.isinf(seconds(size)) or seconds(size) < _GAIN * seconds(larger):
            break
        size = larger
    return size


def _step_s(lm: LanguageModel, tokens: int, packed: PackedWeights | None) -> float:
    """Infinite where memory does not suffice, which may be otherwise the next time."""
    timed = _timed.setdefault(lm, {})
    kind = tokens, packed is not None
    if kind not in timed:
        try:
            timed[kind] = _time_forward(lm, tokens, packed)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return math.inf
    return timed[kind]


@torch.inference_mode()
def _time_forward(lm: LanguageModel, tokens: int, packed: PackedWeights | None) -> float:
    ids = torch.zeros(1, tokens, dtype=torch.long, device=lm.device)
    best = float("inf")
    with contextlib.nullcontext() if packed is None else packed.used():
        for _ in range(3):
            started = time.perf_counter()
            lm.model.base_model(ids, use_cache=False).last_hidden_state.sum().item()  # waits for an accelerator
            best = min(best, time.perf_counter() - started)
    return best
