"""Where rows of different lengths keep the keys and values of their own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

__all__ = ["Grid", "SlotCache"]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Packed tokens laid out in rows of one width: token ``t`` at ``[row[t], column[t]]``, the rest is empty."""

    row: Int[Tensor, " T"]
    column: Int[Tensor, " T"]
    rows: int
    width: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Grid:
        """Texts of these lengths one after the other, one row each, from the left."""
        counts = torch.tensor(lengths)
        row = torch.arange(len(lengths)).repeat_interleave(counts)
        column = torch.cat([torch.arange(length) for length in lengths])
        return cls(row.to(device), column.to(device), len(lengths), max(lengths))

    @classmethod
    def by_group(cls, groups: Sequence[int], device: torch.device) -> Grid:
        """Tokens of the same group in the same row, groups by number."""
        place = {group: row for row, group in enumerate(sorted(set(groups)))}
        filled = [0] * len(place)
        row, column = [], []
        for group in groups:
            row.append(place[group])
            column.append(filled[place[group]])
            filled[place[group]] += 1
        return cls(torch.tensor(row, device=device), torch.tensor(column, device=device), len(place), max(filled))

    def spread(self, packed: Shaped[Tensor, "T H d"]) -> Shaped[Tensor, "R H W d"]:
        """The tokens at their places, zero elsewhere."""
        if self.rows == 1:
            return packed.transpose(0, 1)[None]
        laid = packed.new_zeros(self.rows, self.width, *packed.shape[1:])
        laid[self.row, self.column] = packed
        return laid.transpose(1, 2)

    def collect(self, laid: Float[Tensor, "R H W *d"]) -> Float[Tensor, "T H *d"]:
        """The tokens from their places, packed again."""
        if self.rows == 1:
            return laid[0].transpose(0, 1)
        return laid.transpose(1, 2)[self.row, self.column]


class SlotCache:
    """Keys and values of up to ``slots`` rows with up to ``columns`` tokens each, in one block of memory per layer.

    Rows fill the slots from the first on. Places that a row has not written are zero, whatever row had the slot before,
    so that a weight of zero makes them harmless.
    """

    def __init__(self, n_layers: int, slots: int, columns: int) -> None:
        self._shape = slots, columns
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layers

    def write(
        self, layer: int, slots: slice, keys: Float[Tensor, "R H W d"], values: Float[Tensor, "R H W dv"]
    ) -> None:
        """The first ``W`` tokens of new rows."""
        for block, states in zip(self._blocks(layer, keys, values), (keys, values), strict=True):
            block[slots, :, : states.shape[2]] = states
            # Zero times what the slot's last row left is not zero if that was not finite.
            block[slots, :, states.shape[2] :] = 0

    def append(
        self, layer: int, columns: Int[Tensor, " R"], keys: Float[Tensor, "R H d"], values: Float[Tensor, "R H dv"]
    ) -> None:
        """One more token per row, of all rows from the first slot on."""
        slots = torch.arange(len(columns), device=columns.device)
        for block, states in zip(self._blocks(layer, keys, values), (keys, values), strict=True):
            block[slots, :, columns] = states

    def read(self, layer: int, rows: int, width: int) -> tuple[Float[Tensor, "R H W d"], Float[Tensor, "R H W dv"]]:
        """The first ``width`` tokens of the first ``rows`` rows."""
        blocks = self._layers[layer]
        assert blocks is not None
        return blocks[0][:rows, :, :width], blocks[1][:rows, :, :width]

    def move(self, source: int, target: int) -> None:
        """Put one row in another's place."""
        for blocks in self._layers:
            for block in blocks or ():
                block[target] = block[source]

    def _blocks(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        blocks = self._layers[layer]
        if blocks is None:
            slots, columns = self._shape
            keys, values = (x.new_zeros(slots, x.shape[1], columns, x.shape[-1]) for x in (keys, values))
            blocks = self._layers[layer] = keys, values
        return blocks
