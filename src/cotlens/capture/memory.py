"""How much memory discovery needs, told before it starts.

Counted are tensors and tables that have to be there at once, and not what libraries take besides. On SmolLM2-135M that
was two thirds of the measured peak for ``norm`` and nearly all of it for ``dla`` and ``grad``. A demand above what is
free can't be met; one just below it may still fail.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from cotlens.capture.rankers import Needs
from cotlens.capture.writing import LOGITS_AT_ONCE
from cotlens.errors import EnvironmentFault
from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import free_bytes
from cotlens.model.shared_prefix import compute_prefix

__all__ = ["Workload", "check_memory", "estimate_memory", "kept_per_token"]

logger = logging.getLogger(__name__)

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Workload:
    """The largest of everything that discovery will meet."""

    prefix_tokens: int
    """Tokens that all prompts of a variant begin with."""
    own_tokens: int
    """Tokens of one text after that."""
    text_steps: int
    """Generated tokens of one text."""
    batch_tokens: int
    """Tokens, padding included, of one forward pass."""
    batch_texts: int
    """Texts in one forward pass."""
    part_steps: int
    """Generated tokens in one part of the run."""
    lens_tokens: int = 0
    """Tokens kept of each layer and step by the logit lens."""


def estimate_memory(lm: LanguageModel, needs: Needs, top_k: int, work: Workload) -> dict[str, int]:
    """Bytes that discovery holds at its peak, by what they are for."""
    heads = int(lm.model.config.get_text_config().num_attention_heads)
    size = lm.dtype.itemsize
    one_token = compute_prefix(lm, [0])
    cache = sum(states.nbytes for states in (*one_token.keys, *one_token.values))  # bytes per token
    tokens, columns = max(work.batch_tokens, work.own_tokens), work.prefix_tokens + work.own_tokens
    scores = heads * columns * 4  # bytes per token that attends
    layer = (3 * lm.d_ff + 6 * lm.d_model) * size  # bytes per token within one layer
    copies = 0 if lm.shares_prefix else cache * work.prefix_tokens * work.batch_texts
    row = lm.n_layers * (12 * top_k + 64)  # bytes per step in a table: three lists of K, keys and offsets
    demand = {
        "prefix": cache * work.prefix_tokens,
        "forward pass": tokens * (cache + scores + layer) + copies,
        "top-K": tokens * lm.n_layers * top_k * 16,
        "tables": 2 * work.part_steps * row,
    }
    if work.lens_tokens:
        upcast = lm.unembedding.numel() * 4 if size < 4 else 0
        demand["logit lens"] = (
            3 * 4 * LOGITS_AT_ONCE + upcast + 2 * work.part_steps * lm.n_layers * 8 * work.lens_tokens
        )
    if needs == "residuals":
        kept = tokens * kept_per_token(lm) * work.text_steps // work.own_tokens
        demand["residual streams"] = kept + 4 * LOGITS_AT_ONCE + lm.unembedding.numel() * (4 if size < 4 else 0)
    if needs == "gradients":
        demand["forward pass"] = cache * columns  # text by text
        demand["graph"] = work.text_steps * lm.n_layers * (2 * layer + 2 * scores)
    return demand


def kept_per_token(lm: LanguageModel) -> int:
    """Bytes that a ranker on residual streams keeps for each token until its forward pass has ended."""
    return lm.n_layers * (lm.d_ff + 3 * lm.d_model) * 4


def check_memory(lm: LanguageModel, demand: Mapping[str, int]) -> None:
    """Log what discovery will need.

    Raises:
        EnvironmentFault: that is more than is free.
    """
    total, free = sum(demand.values()), free_bytes(lm.device)
    items = ", ".join(f"{name} {amount / _MIB:.0f}" for name, amount in demand.items())
    told = f"about {total / _MIB:.0f} MiB ({items}); {free / _MIB:.0f} MiB are free on {lm.device}"
    logger.info("discover: needs %s", told)
    if total > free:
        raise EnvironmentFault(f"discover: needs {told}; {_REMEDIES[max(demand, key=lambda name: demand[name])]}")


_SHORTER = "use shorter prompts or completions (prompt.shots, generate.max_new_tokens), or model.dtype=bfloat16"
_REMEDIES = {
    "prefix": _SHORTER,
    "forward pass": _SHORTER,
    "top-K": "use a smaller discover.top_k",
    "tables": "use a smaller generate.part_size or discover.top_k",
    "logit lens": "use a smaller discover.logit_lens or generate.part_size, or discover.logit_lens=0",
    "residual streams": "use discover.ranker=norm, which keeps less",
    "graph": "use discover.ranker=norm, which needs no gradients, or shorter completions (generate.max_new_tokens)",
}
