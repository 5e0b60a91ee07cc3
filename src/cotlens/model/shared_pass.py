"""One forward pass over the packed tokens of many rows that share a prefix.

Only attention tells rows apart: each token attends to its prefix, held once for all rows, and to the earlier tokens of
its own row, and the two parts are merged. The attention function is registered with transformers' attention interface
and used only while a pass runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AttentionInterface

from cotlens.model.attention_interface import attention_function
from cotlens.model.language_model import LanguageModel
from cotlens.model.partial_attention import Part, Sight, attend, merge, sight
from cotlens.model.prefix import Prefix, Prefixes
from cotlens.model.slots import Grid, SlotCache

__all__ = ["Beginning", "PrefixStack", "SharedPass", "Step"]

_NAME = "cotlens_shared_prefix"


@dataclass(frozen=True, slots=True, eq=False)
class PrefixStack:
    """The prefixes of the groups at work, one after the other."""

    groups: int
    length: int
    keys: Sequence[Float[Tensor, "G H P d"]]
    values: Sequence[Float[Tensor, "G H P dv"]]

    @classmethod
    def of(cls, prefixes: Sequence[Prefix]) -> PrefixStack:
        first = prefixes[0]
        if len(prefixes) == 1:
            return cls(1, first.length, first.keys, first.values)
        keys = [torch.cat(layer) for layer in zip(*(prefix.keys for prefix in prefixes), strict=True)]
        values = [torch.cat(layer) for layer in zip(*(prefix.values for prefix in prefixes), strict=True)]
        return cls(len(prefixes), first.length, keys, values)


class Beginning:
    """New rows look at their own tokens, each at those before it."""

    def __init__(self, cache: SlotCache, slots: slice | None, grid: Grid) -> None:
        self._cache = cache
        self._slots = slots
        self._grid = grid
        self._sights: dict[int | None, Sight] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, window: int | None, softcap: float | None
    ) -> Part:
        grid = self._grid
        keys, values = grid.spread(key), grid.spread(value)
        if self._slots is not None:
            self._cache.write(layer, self._slots, keys, values)
        part = attend(grid.spread(query), keys, values, self._sight(window, query), softcap)
        return Part(grid.collect(part.out), grid.collect(part.lse))

    def _sight(self, window: int | None, like: Tensor) -> Sight:
        if window not in self._sights:
            columns = torch.arange(self._grid.width, device=like.device)
            distance = columns[:, None] - columns
            seen = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
            self._sights[window] = sight(seen[None], like.dtype, maybe_blind=False)
        return self._sights[window]


class Step:
    """Every row has one new token, which looks at all of its row."""

    def __init__(self, cache: SlotCache, columns: Int[Tensor, " B"], width: int) -> None:
        self._cache = cache
        self._columns = columns
        self._width = width
        self._sights: dict[int | None, Sight] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, window: int | None, softcap: float | None
    ) -> Part:
        self._cache.append(layer, self._columns, key, value)
        keys, values = self._cache.read(layer, len(self._columns), self._width)
        part = attend(query[:, :, None], keys, values, self._sight(window, query), softcap)
        return Part(part.out[:, :, 0], part.lse[:, :, 0])

    def _sight(self, window: int | None, like: Tensor) -> Sight:
        if window not in self._sights:
            distance = self._columns[:, None] - torch.arange(self._width, device=like.device)  # [B, C]
            seen = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
            self._sights[window] = sight(seen[:, None], like.dtype, maybe_blind=False)
        return self._sights[window]


@dataclass(slots=True, eq=False)
class SharedPass:
    """One forward pass over packed tokens."""

    lm: LanguageModel
    prefixes: Prefixes
    ids: Int[Tensor, " T"]
    columns: Int[Tensor, " T"]
    """Each token's place in its own row."""
    groups: list[int]
    """Each token's group."""
    own: Beginning | Step
    prefix: PrefixStack
    by_group: Grid | None
    """Tokens laid out by the prefix that they look at; None where it is the same for all."""
    ends: list[int]
    """The last token of each row among all."""
    _sights: dict[int, tuple[int, Sight]] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the model's forward is called with."""
        positions = self.prefix.length + self.columns
        return {"input_ids": self.ids[None], "position_ids": positions[None], "use_cache": False}

    @property
    def wanted(self) -> Int[Tensor, " R"]:
        """The positions whose logits are asked for."""
        return torch.tensor(self.ends, device=self.ids.device)

    def pick(self, logits: Float[Tensor, "1 S V"]) -> Float[Tensor, "R V"]:
        """Those of the last token of each row, from these or from all."""
        return logits[0] if logits.shape[1] == len(self.ends) else logits[0, self.wanted]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While this is open, the model attends as this pass needs it, and adds the terms of each token's group."""
        AttentionInterface.register(_NAME, _attention)
        token = _current.set(self)
        try:
            with attention_function(self.lm.model, _NAME), self.prefixes.terms.added(self.groups):
                yield
        finally:
            _current.reset(token)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, window: int | None, softcap: float | None
    ) -> Float[Tensor, "T Hq dv"]:
        """Attention of every token to its prefix and to its own row."""
        own = self.own.attend(layer, query, key, value, window, softcap)
        first, seen = (0, None) if window is None else self._prefix_sight(window, query)
        if first >= self.prefix.length:
            return own.out
        keys, values = self.prefix.keys[layer][:, :, first:], self.prefix.values[layer][:, :, first:]
        laid = query.transpose(0, 1)[None] if self.by_group is None else self.by_group.spread(query)
        shared = attend(laid, keys, values, seen, softcap)
        if self.by_group is None:
            shared = Part(shared.out[0].transpose(0, 1), shared.lse[0].transpose(0, 1))
        else:
            shared = Part(self.by_group.collect(shared.out), self.by_group.collect(shared.lse))
        return merge(own, shared)

    def _prefix_sight(self, window: int, like: Tensor) -> tuple[int, Sight]:
        """The first column of the prefix that any token sees through a sliding window, and which see which."""
        if window not in self._sights:
            length = self.prefix.length
            first = min(length, max(0, length + int(self.columns.min()) - window + 1))
            positions = length + self.columns
            if self.by_group is None:
                positions = positions[None]  # [1, T]
            else:
                positions = self.by_group.spread(positions[:, None, None])[:, 0, :, 0]  # [G, W]
            seen = positions[..., None] - torch.arange(first, length, device=like.device) < window
            self._sights[window] = first, sight(seen, like.dtype, maybe_blind=True)
        return self._sights[window]


_current: ContextVar[SharedPass] = ContextVar("cotlens_pass")


def _attention(
    module: torch.nn.Module,
    query: Float[Tensor, "1 Hq T d"],
    key: Float[Tensor, "1 H T d"],
    value: Float[Tensor, "1 H T dv"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 T Hq dv"], None]:
    scaled = query * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    query, key, value = (states[0].transpose(0, 1) for states in (scaled, key, value))
    layer: int = module.layer_idx  # type: ignore[assignment]
    return _current.get().attend(layer, query, key, value, sliding_window, softcap).contiguous()[None], None
