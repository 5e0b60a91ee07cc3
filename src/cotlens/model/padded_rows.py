"""Rows as ordinary left-padded texts, for models whose attention can't be replaced.

Each row has a copy of the prefix's keys and values, an ordinary attention mask, and its own positions (learned, rotary,
or as a bias on the scores): what the model makes of the mask, as in `generate` with left padding. The prefix is still
computed once.

The shorter a suffix, the less of the prefix its row takes from the copy: a row reads the last ``W`` tokens of its text,
``W`` being the longest suffix, and what lies before them comes from the copy. So padding lies before the text and
never within it, and distances between columns are distances in the text, which sliding windows rely on::

    copied | read          copied | read
    p p p  | s s s s       . p p  | p s s s
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotlens.model.cache import RoomyCache
from cotlens.model.language_model import LanguageModel
from cotlens.model.prefix import Prefix

__all__ = ["PaddedRows"]


class PaddedRows:
    """Texts padded on the left to one length."""

    def __init__(self, lm: LanguageModel, prefix: Prefix, suffixes: Sequence[Sequence[int]], room: int) -> None:
        width = max(len(suffix) for suffix in suffixes)
        padding = torch.tensor([width - len(suffix) for suffix in suffixes], device=lm.device)
        texts = [[*prefix.ids, *suffix] for suffix in suffixes]
        read = [[0] * (width - len(text)) + text[-width:] for text in texts]
        columns = torch.arange(prefix.length + width, device=lm.device)
        self._ids = torch.tensor(read, device=lm.device)
        self._real = columns >= padding[:, None]  # [B, P + W]
        self._cache = RoomyCache(lm.n_layers, room + (width if prefix.length else 0))
        for layer, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
            self._cache.update(_shifted(keys, padding), _shifted(values, padding), layer)
        self._takes_positions = "position_ids" in inspect.signature(lm.model.base_model.forward).parameters

    def first(self) -> dict[str, Any]:
        """Arguments of the forward pass that reads the suffixes."""
        return self._arguments(self._ids)

    def append(self, ids: Int[Tensor, " B"]) -> dict[str, Any]:
        """Arguments of the forward pass that reads one more token per row."""
        self._real = torch.cat([self._real, torch.ones_like(self._real[:, :1])], dim=1)
        return self._arguments(ids[:, None])

    def keep(self, rows: Int[Tensor, " R"]) -> None:
        """Drop all rows but these."""
        self._real = self._real[rows]
        self._cache.keep_rows(rows)

    def attending(self) -> contextlib.AbstractContextManager[None]:
        """The model attends as it always does."""
        return contextlib.nullcontext()

    def _arguments(self, ids: Int[Tensor, "B S"]) -> dict[str, Any]:
        mask = self._real.long()
        arguments = {"input_ids": ids, "attention_mask": mask, "past_key_values": self._cache, "use_cache": True}
        if self._takes_positions:
            arguments["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return arguments


def _shifted(states: Float[Tensor, "1 H P d"], padding: Int[Tensor, " B"]) -> Float[Tensor, "B H P d"]:
    """One copy per row, moved to the right by the row's padding. What is moved out is read again; what comes in on the
    left is padding, which the mask hides.
    """
    columns = torch.arange(states.shape[2], device=states.device)
    source = (columns - padding[:, None]).clamp(min=0)  # [B, P]
    return states[0][:, source].transpose(0, 1)
