"""How many rows fit in memory."""

from __future__ import annotations

from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import free_bytes

__all__ = ["choose_batch_size"]

_MOST = 64  # beyond this a CPU gains nothing, and a stopped row costs more padding
_SHARE = 0.4  # of the free memory; the rest is for what can't be foreseen


def choose_batch_size(lm: LanguageModel, suffix_length: int, max_new_tokens: int, prefix_length: int) -> int:
    """Rows per forward pass, from free memory and what a row needs for cache, scores and activations."""
    config = lm.model.config.get_text_config()
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    head_dim = int(getattr(config, "head_dim", None) or lm.d_model // heads)
    # Where the prefix can't be shared, each row has a copy of it.
    columns = suffix_length + max_new_tokens + (0 if lm.shares_prefix else prefix_length)
    cache = 2 * 2 * lm.n_layers * kv_heads * head_dim * columns * lm.dtype.itemsize  # twice: growing copies
    scores = 3 * heads * suffix_length * (prefix_length + suffix_length) * 4
    activations = 4 * suffix_length * max(lm.d_ff, lm.d_model) * lm.dtype.itemsize
    logits = 2 * lm.unembedding.shape[0] * lm.dtype.itemsize
    return max(1, min(_MOST, int(_SHARE * free_bytes(lm.device) / (cache + scores + activations + logits))))
