"""Rows that attend to one prefix without a copy of it.

The tokens of all rows go through the model packed, side by side as one sequence without padding (see `SharedPass`);
what they leave for later tokens lies in the slots of one cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from cotlens.model.language_model import LanguageModel
from cotlens.model.prefix import Prefix, Prefixes
from cotlens.model.shared_pass import Beginning, PrefixStack, SharedPass, Step
from cotlens.model.slots import Grid, SlotCache

__all__ = ["SharedRows"]


class SharedRows:
    """Rows in the slots of one cache; they come and go one by one."""

    takes_more = True

    def __init__(self, lm: LanguageModel, prefixes: Prefixes, slots: int, columns: int) -> None:
        self._lm = lm
        self._prefixes = prefixes
        self._cache = SlotCache(lm.n_layers, slots, columns)
        self._lengths: list[int] = []
        self._groups: list[int] = []
        self._stacked: tuple[tuple[Prefix, ...], PrefixStack] | None = None

    def __len__(self) -> int:
        return len(self._lengths)

    def begin(self, suffixes: Sequence[Sequence[int]], groups: Sequence[int], keep: bool) -> SharedPass:
        """The forward pass that reads new rows, which come after those that are there; unless they are to ``keep``,
        nothing of them is stored."""
        lengths = [len(suffix) for suffix in suffixes]
        grid = Grid.of(lengths, self._lm.device)
        of_tokens = [group for group, length in zip(groups, lengths, strict=True) for _ in range(length)]
        ids = [token for suffix in suffixes for token in suffix]
        slots = slice(len(self), len(self) + len(suffixes)) if keep else None
        if keep:
            self._lengths += lengths
            self._groups += groups
        ends = [end - 1 for end in itertools.accumulate(lengths)]
        own = Beginning(self._cache, slots, grid)
        return self._pass(torch.tensor(ids, device=self._lm.device), grid.column, of_tokens, own, ends)

    def append(self, ids: Int[Tensor, " B"]) -> SharedPass:
        """The forward pass that reads one more token per row."""
        columns = torch.tensor(self._lengths, device=self._lm.device)
        own = Step(self._cache, columns, max(self._lengths) + 1)
        self._lengths = [length + 1 for length in self._lengths]
        return self._pass(ids, columns, self._groups, own, list(range(len(self))))

    def drop(self, places: Sequence[int]) -> list[int]:
        """Remove rows. Others may move into their places: returned is, for each row, where it was before."""
        order = list(range(len(self)))
        for place in sorted(places, reverse=True):
            last = order.pop()
            if place < len(order):
                self._cache.move(last, place)
                order[place] = last
        self._lengths = [self._lengths[place] for place in order]
        self._groups = [self._groups[place] for place in order]
        return order

    def _pass(
        self, ids: Tensor, columns: Tensor, groups: Sequence[int], own: Beginning | Step, ends: list[int]
    ) -> SharedPass:
        prefix = self._stack(sorted(set(groups)))
        by_group = Grid.by_group(groups, self._lm.device) if prefix.groups > 1 else None
        return SharedPass(self._lm, self._prefixes, ids, columns, list(groups), own, prefix, by_group, ends)

    def _stack(self, groups: Sequence[int]) -> PrefixStack:
        prefixes = tuple(self._prefixes.of(group) for group in groups)
        if self._stacked is None or self._stacked[0] != prefixes:
            self._stacked = None  # frees what the last one held
            self._stacked = prefixes, PrefixStack.of(prefixes)
        return self._stacked[1]
