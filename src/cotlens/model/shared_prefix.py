"""Many texts with a common beginning: the beginning is computed once, and every row goes on from it.

A few-shot prompt is some 900 tokens, of which a question is 60. `Prefixes` run the model over the common part once for
each intervention; a `RowBatch` then runs any number of rows that continue it. How rows see the prefix depends on the
model: `SharedRows` hold it once for all, where the model lets its attention be replaced; `PaddedRows` copy it per row.
The results are the same, those of each text alone.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotlens.model.language_model import LanguageModel
from cotlens.model.packed_weights import PackedWeights
from cotlens.model.padded_rows import PaddedPass, PaddedRows
from cotlens.model.prefix import Prefix, Prefixes, common_prefix_length, compute_prefix
from cotlens.model.shared_pass import SharedPass
from cotlens.model.shared_rows import SharedRows

__all__ = ["Encoding", "Prefix", "Prefixes", "RowBatch", "common_prefix_length", "compute_prefix"]


class RowBatch:
    """Rows of token ids that continue a prefix, with what the model remembers of them.

    Args:
        lm: the model.
        prefixes: what the rows begin with.
        slots: most rows at a time.
        columns: most tokens that a row will have after the prefix.
        packed: copies of the weights that are quicker to compute with.
    """

    def __init__(
        self, lm: LanguageModel, prefixes: Prefixes, slots: int, columns: int, packed: PackedWeights | None = None
    ) -> None:
        self._rows = _rows(lm, prefixes, slots, columns)
        self._packed = packed
        self._model = lm.model
        self._picks = "logits_to_keep" in inspect.signature(lm.model.forward).parameters

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def takes_more(self) -> bool:
        """Whether rows can begin while others are under way."""
        return self._rows.takes_more or not len(self)

    def begin(self, suffixes: Sequence[Sequence[int]], groups: Sequence[int]) -> Float[Tensor, "R V"]:
        """Read new rows, which come after those that are there; logits that follow the last token of each."""
        return self._logits(self._rows.begin(suffixes, groups, keep=True))

    def append(self, ids: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Append one token to every row; logits that follow it."""
        return self._logits(self._rows.append(ids))

    @torch.inference_mode()
    def drop(self, places: Sequence[int]) -> list[int]:
        """Remove rows. Others may move into their places: returned is, for each row, where it was before."""
        return self._rows.drop(places)

    @torch.inference_mode()
    def _logits(self, rows: SharedPass | PaddedPass) -> Float[Tensor, "R V"]:
        more = {"logits_to_keep": rows.wanted} if self._picks else {}
        with rows.running(), contextlib.nullcontext() if self._packed is None else self._packed.used():
            return rows.pick(self._model(**rows.arguments, **more).logits)


class Encoding:
    """Texts that continue a prefix, each under the terms of its group, run once; nothing is remembered."""

    def __init__(
        self, lm: LanguageModel, prefixes: Prefixes, suffixes: Sequence[Sequence[int]], groups: Sequence[int]
    ) -> None:
        width = max(len(suffix) for suffix in suffixes)
        self._model = lm.model
        self._pass = _rows(lm, prefixes, len(suffixes), width).begin(suffixes, groups, keep=False)

    @property
    def ends(self) -> list[int]:
        """The last token of each text among all tokens of the pass. The others of that text are those before it."""
        return self._pass.ends

    @torch.inference_mode()
    def run(self) -> None:
        """The forward pass for the sake of hooks on the way; no logits."""
        with self._pass.running():
            self._model.base_model(**self._pass.arguments)

    @torch.inference_mode()
    def logits(self, places: Int[Tensor, " n"]) -> Float[Tensor, "n V"]:
        """The forward pass, and the logits that follow the tokens at ``places`` among all tokens of the pass."""
        head: Any = self._model.get_output_embeddings()
        handle = head.register_forward_pre_hook(
            lambda _, inputs: (_flat(inputs[0])[places.to(inputs[0].device)][None],)
        )
        try:
            with self._pass.running():
                logits: Tensor = self._model(**self._pass.arguments).logits
        finally:
            handle.remove()
        return logits[0]


def _flat(states: Float[Tensor, "B S E"]) -> Float[Tensor, "T E"]:
    return states.reshape(-1, states.shape[-1])


def _rows(lm: LanguageModel, prefixes: Prefixes, slots: int, columns: int) -> SharedRows | PaddedRows:
    kind = SharedRows if lm.shares_prefix else PaddedRows
    return kind(lm, prefixes, slots, columns)
