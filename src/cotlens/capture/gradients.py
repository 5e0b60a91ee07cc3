"""The gradient of each generated token's logit in the coefficients of the position that predicts it.

One backward pass serves all steps of a text. Attention is computed so that gradients flow within a position only: keys
and values of other positions count as constants. The sum of all steps' logits then has, in the coefficients of a step,
the gradient of that step's own logit, since nothing else in the sum depends on them. Where a model's attention can't be
replaced, the same gradients take one backward pass for each step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache

from cotlens.model.attention_interface import attention_function
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import Prefix

__all__ = ["LayerGradient", "step_gradients"]

_ATTENTION = "cotlens_own_position"


class LayerGradient(NamedTuple):
    """One layer at ``T`` steps, in fp32."""

    coefficient: Float[Tensor, "T F"]
    gradient: Float[Tensor, "T F"]


def step_gradients(
    lm: LanguageModel, prefix: Prefix, token_ids: Sequence[int], prompt_length: int
) -> list[LayerGradient]:
    """For each layer, the coefficients of every step and the gradient of the step's logit in them.

    The logit is what the unembedding gives; what the model does to it afterwards is not in it.

    Args:
        lm: the model.
        prefix: what the model has read already, a beginning of the prompt that leaves its last token out.
        token_ids: prompt and completion.
        prompt_length: how many of them are the prompt.
    """
    with torch.inference_mode(False):
        cache = _as_cache(prefix)
        question = list(token_ids[prefix.length : prompt_length - 1])
        if question:
            with torch.no_grad():
                _read(lm, question, cache)
        with torch.enable_grad(), _own_position_attention(lm), _keep_coefficients(lm) as kept:
            hidden = _read(lm, list(token_ids[prompt_length - 1 : -1]), cache)[0]
            targets = torch.tensor(token_ids[prompt_length:], device=hidden.device)
            head: Any = lm.model.get_output_embeddings()
            logits = head(hidden).gather(1, targets[:, None])[:, 0]  # [T]
        gradients = _at_once(logits, kept) if lm.shares_prefix else _one_by_one(logits, kept)
    return [LayerGradient(_rows(m.detach()).float(), g.float()) for m, g in zip(kept, gradients, strict=True)]


def _at_once(logits: Float[Tensor, " T"], kept: list[Tensor]) -> list[Float[Tensor, "T F"]]:
    return [_rows(gradient) for gradient in torch.autograd.grad(logits.sum(), kept)]


def _one_by_one(logits: Float[Tensor, " T"], kept: list[Tensor]) -> list[Float[Tensor, "T F"]]:
    steps = []
    for step, logit in enumerate(logits):
        everywhere = torch.autograd.grad(logit, kept, retain_graph=True)
        steps.append([_rows(gradient)[step] for gradient in everywhere])
    return [torch.stack(layer) for layer in zip(*steps, strict=True)]


def _rows(one_text: Tensor) -> Float[Tensor, "T F"]:
    """Without the batch dimension, which some architectures (OPT) drop by themselves."""
    return one_text.reshape(-1, one_text.shape[-1])


def _as_cache(prefix: Prefix) -> DynamicCache:
    """Copies, since tensors made in inference mode can take no part in a backward pass."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
        cache.update(keys.clone(), values.clone(), layer)
    return cache


def _read(lm: LanguageModel, ids: list[int], cache: DynamicCache) -> Float[Tensor, "1 S E"]:
    tokens = torch.tensor([ids], device=lm.device)
    hidden: Tensor = lm.model.base_model(tokens, past_key_values=cache, use_cache=True).last_hidden_state
    return hidden


@contextlib.contextmanager
def _keep_coefficients(lm: LanguageModel) -> Iterator[list[Tensor]]:
    """The coefficients of the forward pass in the block, as part of its graph."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Where the weights take no gradient, the graph begins here.
        coefficient = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
        kept.append(coefficient)
        return (coefficient, *inputs[1:])

    with contextlib.ExitStack() as stack:
        for ffn in lm.ffn:
            stack.callback(ffn.down_projection.register_forward_pre_hook(keep).remove)
        yield kept


def _own_position_attention(lm: LanguageModel) -> contextlib.AbstractContextManager[None]:
    if not lm.shares_prefix:
        return contextlib.nullcontext()
    AttentionInterface.register(_ATTENTION, _attention)
    return attention_function(lm.model, _ATTENTION)


def _attention(
    module: nn.Module,
    query: Float[Tensor, "B Hq S d"],
    key: Float[Tensor, "B H C d"],
    value: Float[Tensor, "B H C dv"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "B S Hq dv"], None]:
    """Attention of ``S`` new tokens over ``C``, themselves last; other positions' keys and values are constants."""
    S, C = query.shape[2], key.shape[2]
    shared = query.shape[1] // key.shape[1]  # query heads for each key head
    key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    own_key, own_value = key[:, :, C - S :], value[:, :, C - S :]

    scores = query @ key.detach().transpose(2, 3)  # [B, Hq, S, C]
    scores = scores.diagonal_scatter((query * own_key).sum(dim=-1), offset=C - S, dim1=2, dim2=3)
    scores = scores * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    distance = torch.arange(C - S, C, device=query.device)[:, None] - torch.arange(C, device=query.device)
    hidden = distance < 0 if sliding_window is None else (distance < 0) | (distance >= sliding_window)
    weights = scores.float().masked_fill(hidden, float("-inf")).softmax(dim=-1).to(value.dtype)

    own_weight = weights.diagonal(offset=C - S, dim1=2, dim2=3)[..., None]  # [B, Hq, S, 1]
    # The second term is zero; it carries the gradient of a token's own value.
    out = weights @ value.detach() + own_weight * (own_value - own_value.detach())
    return out.transpose(1, 2).contiguous(), None
