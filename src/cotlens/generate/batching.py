"""How many rows go through the model together: as many as pay, and fit in memory."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

import torch

from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import free_bytes

__all__ = ["choose_batch_size", "rows_that_fit", "rows_that_pay"]

_SHARE = 0.4  # of the free memory; the rest is for what can't be foreseen
_LEAST = 16  # pays everywhere
_MOST = 1024
_GAIN = 1.15  # twice the rows must bring so many times the tokens per second

_timed: WeakKeyDictionary[LanguageModel, int] = WeakKeyDictionary()


def choose_batch_size(
    lm: LanguageModel, suffix_length: int, max_new_tokens: int, prefix_length: int, rows: int, groups: int = 1
) -> int:
    """Rows per forward pass for ``rows`` in all, of so many different interventions."""
    fitting = min(rows, rows_that_fit(lm, suffix_length, max_new_tokens, prefix_length, groups / rows))
    return fitting if fitting <= _LEAST else min(fitting, rows_that_pay(lm))


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


def rows_that_pay(lm: LanguageModel) -> int:
    """Beyond how many rows a step takes as much longer as it does more; a power of two, timed once per model."""
    if lm not in _timed:
        rows, speed = _LEAST, _tokens_per_second(lm, _LEAST)
        while rows < _MOST and (faster := _tokens_per_second(lm, 2 * rows)) > _GAIN * speed:
            rows, speed = 2 * rows, faster
        _timed[lm] = rows
    return _timed[lm]


@torch.inference_mode()
def _tokens_per_second(lm: LanguageModel, tokens: int) -> float:
    ids = torch.zeros(1, tokens, dtype=torch.long, device=lm.device)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        lm.model.base_model(ids, use_cache=False).last_hidden_state.sum().item()  # waits for an accelerator
        best = min(best, time.perf_counter() - started)
    return tokens / best
