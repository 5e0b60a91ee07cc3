"""The strongest contexts of every neuron of a layer, while entries stream by.

Each signed neuron has some slots. When they are full, the best `KEPT_CONTEXTS` stay, and the last of these sets the
threshold that later entries have to reach; soon few do. What stays does not depend on the order of the entries.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt32, UInt64

__all__ = ["CONTEXT", "KEPT_CONTEXTS", "StrongestContexts"]

#: Contexts kept for each signed neuron.
KEPT_CONTEXTS = 20
#: A context as it is stored: the step's number in the run, and what the neuron did there.
CONTEXT = np.dtype([("step", "<u4"), ("coefficient", "<f4"), ("score", "<f4"), ("rank", "<u1")])

_SLOTS = KEPT_CONTEXTS + 8
_SIGN = np.uint32(1 << 31)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


class StrongestContexts:
    """Of one layer with ``U`` signed neurons."""

    def __init__(self, signed_neurons: int) -> None:
        self._key, self._coefficient, self._rank = _empty_slots(signed_neurons)
        self._filled = np.zeros(signed_neurons, np.int64)
        self._threshold = np.full(signed_neurons, -np.inf, np.float32)

    def reaching(self, signed: Int64[np.ndarray, " E"], score: Float32[np.ndarray, " E"]) -> Int64[np.ndarray, " n"]:
        """The places of the entries that may be among the strongest."""
        return np.flatnonzero(score >= self._threshold[signed])

    def add(
        self,
        signed: Int64[np.ndarray, " E"],
        score: Float32[np.ndarray, " E"],
        step: UInt32[np.ndarray, " E"],
        coefficient: Float32[np.ndarray, " E"],
        rank: UInt8[np.ndarray, " E"],
    ) -> None:
        """Take entries, those of the same signed neuron one after the other; ``step`` is its number in the run."""
        key = _keys(score, step)
        left = np.arange(len(signed))
        while len(left):
            owner = signed[left]
            first = np.flatnonzero(np.diff(owner, prepend=-1))
            many = np.diff(first, append=len(owner))
            slot = self._filled[owner] + np.arange(len(owner)) - np.repeat(first, many)
            fits = slot < _SLOTS
            now, at = left[fits], owner[fits] * _SLOTS + slot[fits]
            self._key.reshape(-1)[at] = key[now]
            self._coefficient.reshape(-1)[at] = coefficient[now]
            self._rank.reshape(-1)[at] = rank[now]
            self._filled[owner[first]] = np.minimum(self._filled[owner[first]] + many, _SLOTS)
            self._make_room(owner[first])
            left = left[~fits]
            left = left[score[left] >= self._threshold[signed[left]]]

    def count(self) -> Int64[np.ndarray, " U"]:
        """How many contexts each signed neuron keeps."""
        return np.minimum(self._filled, KEPT_CONTEXTS)

    def take(self) -> np.ndarray:
        """Records of `CONTEXT`, neuron after neuron, the highest score first, equal scores by step; frees the slots."""
        held = self.count()
        best = np.argsort(self._key, axis=1)[:, ::-1][:, :KEPT_CONTEXTS]
        kept = np.arange(KEPT_CONTEXTS) < held[:, None]
        key = np.take_along_axis(self._key, best, axis=1)[kept]
        records = np.empty(len(key), CONTEXT)
        records["score"], records["step"] = _unpack(key)
        records["coefficient"] = np.take_along_axis(self._coefficient, best, axis=1)[kept]
        records["rank"] = np.take_along_axis(self._rank, best, axis=1)[kept]
        self._key, self._coefficient, self._rank = _empty_slots(0)
        return records

    def _make_room(self, among: Int64[np.ndarray, " n"]) -> None:
        full = among[self._filled[among] == _SLOTS]
        if not len(full):
            return
        keys = self._key[full]
        best = np.argpartition(keys, _SLOTS - KEPT_CONTEXTS, axis=1)[:, _SLOTS - KEPT_CONTEXTS :]
        tables: list[np.ndarray] = [self._key, self._coefficient, self._rank]
        for table in tables:
            table[full, :KEPT_CONTEXTS] = np.take_along_axis(table[full], best, axis=1)
            table[full, KEPT_CONTEXTS:] = 0
        self._filled[full] = KEPT_CONTEXTS
        self._threshold[full] = _unpack(self._key[full, :KEPT_CONTEXTS].min(axis=1))[0]


def _empty_slots(
    signed_neurons: int,
) -> tuple[UInt64[np.ndarray, "U slots"], Float32[np.ndarray, "U slots"], UInt8[np.ndarray, "U slots"]]:
    shape = (signed_neurons, _SLOTS)
    return np.zeros(shape, np.uint64), np.zeros(shape, np.float32), np.zeros(shape, np.uint8)


def _keys(score: Float32[np.ndarray, " E"], step: UInt32[np.ndarray, " E"]) -> UInt64[np.ndarray, " E"]:
    """One number for score and step: it is larger for a higher score, and for an earlier step of equal score."""
    bits = (score + np.float32(0)).view(np.uint32)  # no negative zero
    rising = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (rising.astype(np.uint64) << _SHIFT) | (~step).astype(np.uint64)


def _unpack(key: UInt64[np.ndarray, " E"]) -> tuple[Float32[np.ndarray, " E"], UInt32[np.ndarray, " E"]]:
    rising = (key >> _SHIFT).astype(np.uint32)
    bits = np.where(rising & _SIGN, rising & ~_SIGN, ~rising)
    return bits.view(np.float32), ~(key & _LOW).astype(np.uint32)
