"""Another attention function in place of a model's own, where its architecture allows that.

Most architectures call the function that transformers' attention interface holds under the name in their configuration.
Some (Falcon, BLOOM) compute attention in their own code, and some need more than queries, keys and values: a bias, a
mask of their own. Which it is, the model itself is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

__all__ = ["attention_function", "uses_attention_interface"]

_PROBE = "cotlens_probe"
#: Tensors that a model hands on for the sake of some attention function, and that no score depends on.
_HARMLESS = {"cache_position", "position_ids"}


@contextlib.contextmanager
def attention_function(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Let ``model`` use the attention function registered as ``name``; afterwards its own is back, whatever happens."""
    configs: dict[int, Any] = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def uses_attention_interface(model: PreTrainedModel, first_projection: nn.Module) -> bool:
    """Whether queries, keys, values, scale, window and soft cap are all that the model's attention depends on.

    One token is run as far as the first layer's attention. ``first_projection`` is the down projection of the first
    layer; neither it nor anything behind it is run, so no hook there fires.
    """
    if getattr(model.config.get_text_config(), "attention_chunk_size", None) is not None:
        return False  # chunks exist in the mask only
    token = int(model.config.get_text_config().pad_token_id == 0)  # any but padding, which some models warn of
    AttentionInterface.register(_PROBE, _report)
    handle = first_projection.register_forward_pre_hook(_pass_by, prepend=True)
    try:
        with torch.inference_mode(), attention_function(model, _PROBE):
            model.base_model(torch.tensor([[token]], device=model.device), use_cache=False)
    except _Asked as asked:
        return asked.understood
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return False  # attention code that was never meant to be called so
    finally:
        handle.remove()
    return False


class _Asked(Exception):  # noqa: N818 (not an error: it ends the probe)
    def __init__(self, understood: bool) -> None:
        super().__init__()
        self.understood = understood


def _report(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None, **others: Any
) -> None:
    """The attention function of the probe: sees what it is given, and ends the probe."""
    more = {name for name, given in others.items() if isinstance(given, Tensor)} - _HARMLESS
    raise _Asked(understood=attention_mask is None and not more and hasattr(module, "layer_idx"))


def _pass_by(_: nn.Module, __: tuple[Tensor, ...]) -> None:
    """The first layer has attended without asking for a function."""
    raise _Asked(understood=False)
