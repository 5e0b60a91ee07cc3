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
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotlens.model.additive import RowTerms
from cotlens.model.cache import RoomyCache
from cotlens.model.language_model import LanguageModel
from cotlens.model.prefix import Prefixes

__all__ = ["PaddedRows"]


class PaddedRows:
    """Texts padded on the left to one length, which begin together; they may end one by one."""

    takes_more = False

    def __init__(self, lm: LanguageModel, prefixes: Prefixes, slots: int, columns: int) -> None:
        self._lm = lm
        self._prefixes = prefixes
        self._columns = columns
        self._groups: list[int] = []
        self._takes_positions = "position_ids" in inspect.signature(lm.model.base_model.forward).parameters

    def __len__(self) -> int:
        return len(self._groups)

    def begin(self, suffixes: Sequence[Sequence[int]], groups: Sequence[int], keep: bool) -> PaddedPass:
        """The forward pass that reads all rows; those that were there must have ended."""
        assert not self._groups, "rows of an architecture without shared attention begin together"
        width = max(len(suffix) for suffix in suffixes)
        padding = torch.tensor([width - len(suffix) for suffix in suffixes], device=self._lm.device)
        prefixes = [self._prefixes.of(group) for group in groups]
        texts = [[*prefix.ids, *suffix] for prefix, suffix in zip(prefixes, suffixes, strict=True)]
        read = [[0] * (width - len(text)) + text[-width:] for text in texts]
        columns = torch.arange(self._prefixes.length + width, device=self._lm.device)
        self._real = columns >= padding[:, None]  # [B, P + W]
        self._cache = RoomyCache(self._lm.n_layers, self._columns if keep else width)
        for layer in range(self._lm.n_layers if self._prefixes.length else 0):
            self._cache.update(
                _shifted([prefix.keys[layer] for prefix in prefixes], padding),
                _shifted([prefix.values[layer] for prefix in prefixes], padding),
                layer,
            )
        self._groups = list(groups)
        return self._pass(torch.tensor(read, device=self._lm.device))

    def append(self, ids: Int[Tensor, " B"]) -> PaddedPass:
        """The forward pass that reads one more token per row."""
        self._real = torch.cat([self._real, torch.ones_like(self._real[:, :1])], dim=1)
        return self._pass(ids[:, None])

    def drop(self, places: Sequence[int]) -> list[int]:
        """Remove rows; returned is, for each row that stays, where it was before."""
        order = [place for place in range(len(self)) if place not in set(places)]
        self._groups = [self._groups[place] for place in order]
        if order:
            kept = torch.tensor(order, device=self._lm.device)
            self._real = self._real[kept]
            self._cache.keep_rows(kept)
        return order

    def _pass(self, ids: Int[Tensor, "B S"]) -> PaddedPass:
        mask = self._real.long()
        arguments = {"input_ids": ids, "attention_mask": mask, "past_key_values": self._cache, "use_cache": True}
        if self._takes_positions:
            arguments["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return PaddedPass(arguments, self._prefixes.terms, self._groups)


@dataclass(frozen=True, slots=True, eq=False)
class PaddedPass:
    """One forward pass over padded rows."""

    arguments: dict[str, Any]
    """What the model's forward is called with."""
    terms: RowTerms
    groups: Sequence[int]

    @property
    def ends(self) -> list[int]:
        """The last token of each row among all, padding included."""
        rows, width = self.arguments["input_ids"].shape
        return [(row + 1) * width - 1 for row in range(rows)]

    @property
    def wanted(self) -> int:
        """The positions whose logits are asked for: the last of each row."""
        return 1

    def pick(self, logits: Float[Tensor, "B S V"]) -> Float[Tensor, "B V"]:
        """Those of the last position, from these or from all."""
        return logits[:, -1]

    def running(self) -> contextlib.AbstractContextManager[None]:
        """The model attends as it always does; the terms of each row's group are added."""
        return self.terms.added(self.groups)


def _shifted(states: Sequence[Float[Tensor, "1 H P d"]], padding: Int[Tensor, " B"]) -> Float[Tensor, "B H P d"]:
    """One copy per row, moved to the right by the row's padding. What is moved out is read again; what comes in on the
    left is padding, which the mask hides.
    """
    columns = torch.arange(states[0].shape[2], device=padding.device)
    source = (columns - padding[:, None]).clamp(min=0)  # [B, P]
    return torch.stack([row[0][:, places] for row, places in zip(states, source, strict=True)])
