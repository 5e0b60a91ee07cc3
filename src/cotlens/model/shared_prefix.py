"""Many texts with a common beginning: the beginning is computed once, and every row goes on from it.

A few-shot prompt is some 900 tokens, of which a question is 60. `compute_prefix` runs the model over the common part
once; `SuffixBatch` then runs any number of rows that continue it. How rows see the prefix depends on the model:
`SharedRows` hold it once for all, where the model lets its attention be replaced; `PaddedRows` copy it per row. The
results are the same, those of each text alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cotlens.model.language_model import LanguageModel
from cotlens.model.padded_rows import PaddedRows
from cotlens.model.prefix import Prefix, common_prefix_length, compute_prefix
from cotlens.model.shared_rows import SharedRows

__all__ = ["Prefix", "SuffixBatch", "common_prefix_length", "compute_prefix"]


class SuffixBatch:
    """Rows of token ids that continue a `Prefix`, with the cache of what they have read so far.

    ``room`` is the number of tokens that will be appended to each row.
    """

    def __init__(self, lm: LanguageModel, prefix: Prefix, suffixes: Sequence[Sequence[int]], room: int = 0) -> None:
        rows = SharedRows if lm.shares_prefix else PaddedRows
        self._rows: SharedRows | PaddedRows = rows(lm, prefix, suffixes, room)
        self._model = lm.model
        self._read = False
        takes = inspect.signature(lm.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def read_suffixes(self) -> Float[Tensor, "B V"]:
        """Run all suffixes; logits that follow the last token of each row."""
        return self._logits(self._first())

    @torch.inference_mode()
    def encode_suffixes(self) -> None:
        """Run all suffixes for the sake of hooks on the way; no logits are computed.

        The tokens of each suffix are the last of its row; what comes before them in a row is of no meaning.
        """
        with self._rows.attending():
            self._model.base_model(**self._first())

    def read_token(self, ids: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Append one token to every row; logits that follow it."""
        return self._logits(self._rows.append(ids))

    def keep_rows(self, rows: Int[Tensor, " R"]) -> None:
        """Drop all rows but these."""
        self._rows.keep(rows)

    def _first(self) -> dict[str, Any]:
        assert not self._read, "the suffixes were read before"
        self._read = True
        return self._rows.first()

    @torch.inference_mode()
    def _logits(self, arguments: dict[str, Any]) -> Float[Tensor, "B V"]:
        with self._rows.attending():
            logits: Tensor = self._model(**arguments, **self._last_only).logits
        return logits[:, -1]
