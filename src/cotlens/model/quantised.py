"""The dense weight of a linear module, however it is stored: plain, or quantised by one of the libraries in use.

Nothing is kept: a quantised weight is made dense each time that it is asked for, and freed by whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cotlens.errors import ModelFormatError

__all__ = ["dense_weight", "is_projection", "keep_packing", "projection_shape"]

#: What quantised modules call the method that gives their weight, and whether it comes as [in, out].
_METHODS = {
    "dequantize": False,  # HQQ
    "dequantize_weight": True,  # GPTQ and AWQ, as read by gptqmodel
}
#: Weights of bitsandbytes; a weight of theirs is made dense with the state that it carries.
_BITSANDBYTES = frozenset({"Params4bit", "Int8Params"})
#: What its 4-bit modules call whether a forward pass on this CPU packs the weight anew; what the weight's state calls
#: that it was done.
_REPACKS, _REPACKED = "support_avx512bf16_for_cpu", "packing_format_for_cpu"


def keep_packing(model: nn.Module) -> None:
    """Let the 4-bit weights of bitsandbytes stay in the form in which they were loaded.

    On a CPU with AVX512-BF16 the first forward pass of each module would pack its weight anew, in place, for a kernel
    that computes in bfloat16 whatever the model's precision and that no gradient passes. Nothing but that kernel can
    read the form.
    """
    for module in model.modules():
        if getattr(module, _REPACKS, False):
            setattr(module, _REPACKS, False)


def is_projection(module: nn.Module) -> bool:
    """Whether `dense_weight` knows ``module``: a linear module, plain or quantised."""
    if isinstance(module, nn.Linear | Conv1D):
        return True
    return _sizes(module) is not None and any(callable(getattr(module, name, None)) for name in _METHODS)


def projection_shape(module: nn.Module) -> tuple[int, int]:
    """Sizes of output and input, ``(D, F)`` for a down projection, without making its weight dense.

    Raises:
        ModelFormatError: the module does not state them.
    """
    sizes = _sizes(module)
    if sizes is None:
        raise ModelFormatError(f"{type(module).__name__}: a quantised module that does not state its sizes")
    return sizes


def dense_weight(module: nn.Module) -> Float[Tensor, "D F"]:
    """The weight of a linear module as floating-point numbers, one column per input.

    A view where the weight is plain; a copy, made for this call, where it is quantised.

    Raises:
        ModelFormatError: a module whose way of storing weights is not known, or can't be read any more.
    """
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.Linear | Conv1D) and _is_plain(weight):
        plain: Tensor = weight.detach()
        return plain.T if isinstance(module, Conv1D) else plain  # GPT-2 stores the transpose
    with torch.no_grad():
        dense = _make_dense(module, weight)
    if tuple(dense.shape) != projection_shape(module) or not dense.is_floating_point():
        raise ModelFormatError(
            f"{type(module).__name__}: gave a weight {list(dense.shape)} of {dense.dtype}, expected numbers "
            f"{list(projection_shape(module))}; use the checkpoint that is not quantised"
        )
    return dense


def _make_dense(module: nn.Module, weight: Any) -> Tensor:
    if type(weight).__name__ in _BITSANDBYTES:
        if getattr(getattr(weight, "quant_state", None), _REPACKED, False):
            raise ModelFormatError(
                f"{type(module).__name__}: a forward pass on this CPU has packed its 4-bit weight in a form that can't "
                "be read; load the model again, and make the LanguageModel before the model's first forward pass"
            )
        from transformers.integrations.bitsandbytes import dequantize_bnb_weight

        unpacked: Tensor = dequantize_bnb_weight(weight, state=getattr(module, "state", None))
        return unpacked
    for name, transposed in _METHODS.items():
        method: Callable[[], Tensor] | None = getattr(module, name, None)
        if callable(method):
            return method().T if transposed else method()
    if isinstance(module, nn.Linear) and _carries_method(weight):
        dense: Tensor = weight.dequantize()  # torchao, quanto
        return dense
    raise ModelFormatError(
        f"{type(module).__name__}: its weight is quantised in a way that is not known; use the checkpoint that is not "
        "quantised, or a GGUF file, which is made dense when it is loaded"
    )


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    if isinstance(module, Conv1D):
        return int(module.weight.shape[1]), int(module.weight.shape[0])
    sizes = getattr(module, "out_features", None), getattr(module, "in_features", None)
    return (sizes[0], sizes[1]) if isinstance(sizes[0], int) and isinstance(sizes[1], int) else None


def _is_plain(weight: Any) -> bool:
    return type(weight) in (Tensor, nn.Parameter) and weight.dtype in (torch.float32, torch.bfloat16, torch.float16)


def _carries_method(weight: Any) -> bool:
    # Every tensor has a `dequantize`; that of a plain one fails.
    return isinstance(weight, Tensor) and type(weight) not in (Tensor, nn.Parameter)
