"""Rows gathered until they are counted layer by layer, which is quicker the more there are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from cotlens.explorer.part_rows import ROWS_AT_ONCE, Chunk

__all__ = ["LayerBuffer"]

#: Rows that a buffer holds, 31 MiB of them where K is 20.
_ROOM = 16 * ROWS_AT_ONCE


class LayerBuffer:
    """Holds rows of up to `ROWS_AT_ONCE` each time they are added. Its memory is used again and again."""

    def __init__(self, layers: int, k: int) -> None:
        self._layers = layers
        self._filled = 0
        self._layer = np.empty(_ROOM, np.int32)
        self.neuron = np.empty((_ROOM, k), np.int32)
        self.coefficient = np.empty((_ROOM, k), np.float32)
        self.score = np.empty((_ROOM, k), np.float32)
        self.step = np.empty(_ROOM, np.uint32)
        """The step's number in the run."""

    @property
    def full(self) -> bool:
        """Whether there may be no room for what is added next."""
        return self._filled + ROWS_AT_ONCE > _ROOM

    def add(self, chunk: Chunk, step: Int64[np.ndarray, " R"]) -> None:
        rows = slice(self._filled, self._filled + len(step))
        self._layer[rows], self.step[rows] = chunk.layer, step
        self.neuron[rows], self.coefficient[rows], self.score[rows] = chunk.neuron, chunk.coefficient, chunk.score
        self._filled = rows.stop

    def clear(self) -> None:
        self._filled = 0

    def rows_by_layer(self) -> list[slice] | list[Int64[np.ndarray, " r"]]:
        """The rows of each layer: slices where the layers follow each other without a gap, as they are written."""
        layer = self._layer[: self._filled]
        first = int(layer[0]) if self._filled else 0
        if np.array_equal(layer, (first + np.arange(self._filled)) % self._layers):
            return [slice((n - first) % self._layers, self._filled, self._layers) for n in range(self._layers)]
        order = np.argsort(layer, kind="stable")
        return np.split(order, np.searchsorted(layer[order], np.arange(1, self._layers)))
