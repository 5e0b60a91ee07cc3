"""How a model leads what its feed-forward blocks write to its logits, seen by running it on a few tokens.

Some architectures multiply a block's output before it joins the residual stream (Granite), or all logits (Cohere,
Granite, HyperCLOVA X). Their settings have names for that, but one family divides by the number that another multiplies
with; so the numbers are measured.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cotlens.errors import ModelFormatError
from cotlens.model.language_model import LanguageModel

__all__ = ["Wiring", "decoder_layers", "find_wiring", "is_close", "logit_multiplier", "tensor_of", "undefined"]

#: Tokens of the text that a model is run on.
_TOKENS = 3
#: By how much of the largest entry two things may differ that are the same up to rounding: in fp32, in half precision.
_FINE, _COARSE = 1e-3, 5e-2


class Wiring(NamedTuple):
    """What lies between the feed-forward blocks and the logits."""

    layers: list[nn.Module]
    """The layer that each feed-forward block lies in."""
    final_norm: nn.Module
    """The norm that is handed the last layer's output."""
    residual_multiplier: float
    """What a block's output, normalised where it is, is multiplied with when it joins the residual stream."""
    logit_multiplier: float
    """What the unembedding's output is multiplied with, before a soft cap."""
    stream: Float[Tensor, "T D"]
    """What went into the final norm, and the logits that came out."""
    logits: Float[Tensor, "T V"]


class _Pass(NamedTuple):
    """What was seen of one forward pass."""

    stream: Tensor | None
    unembedded: list[Tensor]
    logits: Tensor
    given: list[tuple[nn.Module, Tensor]]
    """Modules with as many weights as the stream has entries, and their inputs."""


@torch.inference_mode()
def find_wiring(lm: LanguageModel) -> Wiring:
    """Run ``lm`` twice: as it is, and with each block silent in a row of its own.

    Raises:
        ModelFormatError: a neuron has no part of its own in the logits, as where each layer normalises the whole
            residual stream, or does not come there by numbers that are the same for all.
    """
    layers = decoder_layers(lm)
    seen = _run(lm, layers[-1])
    assert seen.stream is not None
    return Wiring(
        layers,
        _final_norm(lm, seen),
        _residual_multiplier(lm, layers),
        _logit_multiplier(lm, seen),
        seen.stream.reshape(_TOKENS, -1).float(),
        seen.logits.reshape(_TOKENS, -1).float(),
    )


@torch.inference_mode()
def logit_multiplier(lm: LanguageModel) -> float:
    """What ``lm`` multiplies its unembedding's output with, before a soft cap; 1 for most models.

    Raises:
        ModelFormatError: its logits are no multiple of that output.
    """
    return _logit_multiplier(lm, _run(lm))


def is_close(lm: LanguageModel, found: Tensor, expected: Tensor, rounding: float = 0.0) -> bool:
    """Whether they are the same up to ``rounding`` and the model's precision; so is what is not finite."""
    off, size = float((found - expected).abs().max()), float(expected.abs().max())
    return not off > _tolerance(lm) * size + rounding


def tensor_of(output: Any) -> Tensor:
    """The hidden states among what a layer returns."""
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def undefined(lm: LanguageModel, why: str, usable: str) -> ModelFormatError:
    """Why a ranker that follows neurons to the logits can't be used; ``usable`` names those that can."""
    return ModelFormatError(
        f"{lm.name}: {why}, so a neuron's part in the logits is not defined; use the ranker {usable}"
    )


def decoder_layers(lm: LanguageModel) -> list[nn.Module]:
    for modules in lm.model.modules():
        if isinstance(modules, nn.ModuleList) and len(modules) == lm.n_layers:
            layers = list(modules)
            if all(ffn.down_projection in layer.modules() for ffn, layer in zip(lm.ffn, layers, strict=True)):
                return layers
    raise ModelFormatError(f"{lm.name}: the decoder layers around the feed-forward blocks were not found")


def _run(lm: LanguageModel, last_layer: nn.Module | None = None) -> _Pass:
    given: list[tuple[nn.Module, Tensor]] = []
    outputs: list[Tensor] = []
    unembedded: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        for module in lm.model.base_model.modules() if last_layer is not None else ():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.shape == (lm.d_model,):
                handle = module.register_forward_pre_hook(lambda m, inputs: given.append((m, inputs[0])))
                stack.callback(handle.remove)
        if last_layer is not None:
            stack.callback(last_layer.register_forward_hook(lambda _, __, out: outputs.append(tensor_of(out))).remove)
        head: Any = lm.model.get_output_embeddings()
        stack.callback(head.register_forward_hook(lambda _, __, out: unembedded.append(out.clone())).remove)
        logits = lm.model(_text(lm), use_cache=False).logits
    return _Pass(outputs[0] if outputs else None, unembedded, logits, given)


def _text(lm: LanguageModel) -> Int64[Tensor, "1 T"]:
    """Tokens spread over the vocabulary: the first ones may be special, and embedded as zeros."""
    step = lm.input_vocabulary // (_TOKENS + 1)
    return torch.tensor([[step * (place + 1) for place in range(_TOKENS)]], device=lm.device)


def _final_norm(lm: LanguageModel, seen: _Pass) -> nn.Module:
    for module, tensor in seen.given:
        if tensor is seen.stream:
            return module
    raise undefined(lm, "no norm follows the last layer", "norm, signed or grad")


def _logit_multiplier(lm: LanguageModel, seen: _Pass) -> float:
    if len(seen.unembedded) == 1 and seen.unembedded[0].shape == seen.logits.shape:
        unembedded = seen.unembedded[0].to(seen.logits.device)
        if unembedded.equal(seen.logits):
            return 1.0
        logits, plain = seen.logits.float(), unembedded.float()
        if lm.soft_cap is not None:
            plain = lm.soft_cap * torch.tanh(plain / lm.soft_cap)
        multiplier = _ratio(lm, [logits], [plain])
        if is_close(lm, logits, multiplier * plain):
            return multiplier
    raise undefined(lm, "its logits are not a multiple of what its unembedding gives", "norm or signed")


def _residual_multiplier(lm: LanguageModel, layers: list[nn.Module]) -> float:
    """From one row in which all blocks write, and one for each layer in which its block writes nothing."""
    rows = lm.n_layers + 1
    added: list[Tensor] = []
    moved: list[Tensor] = []
    noise: list[float] = []

    def silence(_: nn.Module, __: object, output: Tensor) -> Tensor:
        by_row = output.reshape(rows, -1).clone()  # some architectures (OPT) have no dimension for rows here
        added.append(by_row[0].float().clone())  # some (Falcon) add to the output in place
        by_row[len(added)] = 0
        return by_row.view_as(output)

    def compare(_: nn.Module, __: object, output: Any) -> None:
        by_row = tensor_of(output).reshape(rows, -1)
        moved.append(by_row[0].float() - by_row[len(added)].float())
        noise.append(4 * torch.finfo(by_row.dtype).eps * float(by_row.abs().max()))

    with contextlib.ExitStack() as stack:
        for ffn, layer in zip(lm.ffn, layers, strict=True):
            last = ffn.down_projection if ffn.post_norm is None else ffn.post_norm
            stack.callback(last.register_forward_hook(silence).remove)
            stack.callback(layer.register_forward_hook(compare).remove)
        lm.model.base_model(_text(lm).expand(rows, -1), use_cache=False)
    multiplier = _ratio(lm, moved, added)
    for written, change, rounding in zip(added, moved, noise, strict=True):
        if not is_close(lm, change, multiplier * written, rounding):
            raise undefined(lm, "what a feed-forward block gives joins the stream changed", "norm, signed or grad")
    return multiplier


def _ratio(lm: LanguageModel, products: list[Tensor], factors: list[Tensor]) -> float:
    """The number that turns ``factors`` into ``products``, by least squares; 1 where it is that up to rounding."""
    product = sum(float((p * f).sum()) for p, f in zip(products, factors, strict=True))
    square = sum(float(f.square().sum()) for f in factors)
    ratio = product / square if square else 1.0
    # Of numbers that are not finite nothing can be said; whoever reads them names the layer.
    return ratio if math.isfinite(ratio) and abs(ratio - 1) > _tolerance(lm) else 1.0


def _tolerance(lm: LanguageModel) -> float:
    return _FINE if lm.dtype in (torch.float32, torch.float64) else _COARSE
