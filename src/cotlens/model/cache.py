"""A key-value cache that grows in place and loses rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

__all__ = ["RoomyCache"]


class RoomyCache(Cache):
    """A cache with room for ``room`` tokens after the first that it is given."""

    def __init__(self, n_layers: int, room: int) -> None:
        self._roomy = [_RoomyLayer(room) for _ in range(n_layers)]
        super().__init__(layers=list(self._roomy))

    def keep_rows(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        for layer in self._roomy:
            layer.keep_rows(rows)


class _RoomyLayer(DynamicLayer):
    """A cache layer with room for the tokens to come: a step writes in place instead of copying all before it."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        before, new = self.get_seq_length(), key_states.shape[2]
        if self._buffers is None or before + new > self._buffers[0].shape[2]:
            grown = super().update(key_states, value_states)
            self._buffers = tuple(self._with_room(states) for states in grown)  # type: ignore[assignment]
        else:
            for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
                buffer[:, :, before : before + new] = states
        return self._show(before + new)

    def keep_rows(self, rows: Tensor) -> None:
        assert self._buffers is not None
        length = self.get_seq_length()
        self._buffers = (self._buffers[0][rows], self._buffers[1][rows])
        self._show(length)

    def _with_room(self, states: Tensor) -> Tensor:
        B, H, C, d = states.shape
        buffer = states.new_empty((B, H, C + self._room, d))
        buffer[:, :, :C] = states
        return buffer

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        assert self._buffers is not None
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values
