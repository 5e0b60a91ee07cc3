"""The records that stages exchange, and the legend of the shapes used everywhere.

Shapes: ``B`` batch, ``S`` sequence, ``T`` steps (generated tokens), ``L`` layers, ``K`` top-K, ``D`` d_model,
``F`` d_ff, ``V`` vocabulary, ``N`` neurons, ``P`` prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32

from cotlens.errors import InputError

__all__ = [
    "Completion",
    "NeuronId",
    "Problem",
    "Progress",
    "Projection",
    "SignedNeuron",
    "Silent",
    "StopReason",
    "TopNeurons",
]

StopReason = Literal["stop", "eos", "length"]

_NEURON = re.compile(r"\s*[Ll]([0-9]{1,9})[Nn]([0-9]{1,9})\s*")


class NeuronId(NamedTuple):
    """Hidden unit ``neuron`` of the feed-forward block of decoder layer ``layer``, both 0-based."""

    layer: int
    neuron: int

    def __str__(self) -> str:
        return f"L{self.layer}N{self.neuron}"

    @classmethod
    def parse(cls, text: str) -> NeuronId:
        """Read ``L12N345``.

        Raises:
            InputError: if ``text`` has another form.
        """
        match = _NEURON.fullmatch(text)
        if match is None:
            raise InputError(f"{text!r} is not a neuron; write layer and index as L12N345, both from 0")
        return cls(int(match[1]), int(match[2]))


class SignedNeuron(NamedTuple):
    """A neuron together with the sign of its coefficient.

    With ``sign`` +1 it writes its value vector and promotes the top of its vocabulary projection; with -1 it
    writes the negated vector and promotes the bottom.
    """

    layer: int
    neuron: int
    sign: int

    @property
    def id(self) -> NeuronId:
        return NeuronId(self.layer, self.neuron)

    def __str__(self) -> str:
        return f"{self.id}{'+' if self.sign > 0 else '-'}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem. ``id`` is stable across machines; ``gold`` is the exact answer.

    ``solution`` is the worked solution, line by line; ``equations`` are its steps, such as ``48/2=24``.
    """

    id: str
    question: str
    gold: Decimal
    solution: tuple[str, ...] = ()
    equations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after one prompt.

    ``token_ids`` are the generated tokens before the stop: neither the end-of-sequence token nor tokens that
    lie wholly within the stop string. ``text`` is their text, cut where the stop string begins. Where generation was
    told to go on after an end-of-sequence token, ``token_ids`` do, and ``text`` is what comes before that token.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    stop_reason: StopReason


@dataclass(frozen=True, slots=True)
class TopNeurons:
    """The top-K neurons of every layer at every generated token, best first, ties by index.

    ``coefficient`` is signed; ``score`` is what the ranker ordered by.
    """

    neuron: Int32[np.ndarray, "T L K"]
    coefficient: Float32[np.ndarray, "T L K"]
    score: Float32[np.ndarray, "T L K"]

    @property
    def steps(self) -> int:
        return int(self.neuron.shape[0])


@dataclass(frozen=True, slots=True)
class Projection:
    """Value vectors seen through the unembedding: the tokens with the largest and the smallest logits."""

    layer: Int32[np.ndarray, " N"]
    neuron: Int32[np.ndarray, " N"]
    promoted_ids: Int32[np.ndarray, "N top_n"]
    promoted_logits: Float32[np.ndarray, "N top_n"]
    promoted_probs: Float32[np.ndarray, "N top_n"]
    suppressed_ids: Int32[np.ndarray, "N top_n"]
    suppressed_logits: Float32[np.ndarray, "N top_n"]
    norm: Literal["none", "gamma"]


@runtime_checkable
class Progress(Protocol):
    """Told how far a stage has come."""

    def begin(self, what: str, total: int) -> None:
        """A piece of work of ``total`` items starts."""

    def advance(self, items: int) -> None:
        """So many more items are done."""


class Silent:
    """A `Progress` that tells nobody."""

    def begin(self, what: str, total: int) -> None:
        """Nothing to do."""

    def advance(self, items: int) -> None:
        """Nothing to do."""
