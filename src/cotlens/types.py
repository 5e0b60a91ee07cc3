"""The records that stages exchange, and the legend of the shapes used everywhere.

Shapes: ``B`` batch, ``S`` sequence, ``T`` steps (generated tokens), ``L`` layers, ``K`` top-K, ``D`` d_model,
``F`` d_ff, ``V`` vocabulary, ``N`` neurons, ``P`` prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32

from cotlens.errors import InputError
from cotlens.notebook import Html, card, chip, chips, paragraph, preformatted, table

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

#: Rows, neurons of a step and tokens of a neuron that a notebook shows.
_SHOWN, _BEST, _TOKENS = 12, 4, 8
_ENDS = {"stop": "ended by the stop text", "eos": "ended by its end token", "length": "cut at the longest length"}
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

    def _repr_html_(self) -> str:
        facts = f"{len(self.token_ids):,} tokens after a prompt of {len(self.prompt_ids):,}, {_ENDS[self.stop_reason]}"
        return card("Completion", facts, preformatted(self.text))


@dataclass(frozen=True, slots=True)
class TopNeurons:
    """The top-K neurons of every layer at every generated token, best first, ties by index.

    ``coefficient`` is signed; ``score`` is what the ranker ordered by.
    """

    neuron: Int32[np.ndarray, "T L K"]
    coefficient: Float32[np.ndarray, "T L K"]
    score: Float32[np.ndarray, "T L K"]
    tokens: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """The text of the token of each step, where it is known; for looking at, not for reckoning."""

    @property
    def steps(self) -> int:
        return int(self.neuron.shape[0])

    def _repr_html_(self) -> str:
        steps, layers, k = self.neuron.shape
        rows = [
            (
                str(step),
                chips(self.tokens[step : step + 1]),
                *(_neuron_cell(self, step, i) for i in self._strongest(step)),
            )
            for step in range(min(steps, _SHOWN))
        ]
        head = ("step", "token", *("largest score" if place == 0 else "" for place in range(_BEST)))
        more = [paragraph(f"and {steps - _SHOWN:,} more steps")] if steps > _SHOWN else []
        facts = f"{steps:,} steps of {layers} layers, {k} neurons each; name and signed coefficient"
        return card("Top neurons", facts, table(head, rows, numbers=[0]), *more)

    def _strongest(self, step: int) -> list[int]:
        """The places, in all layers together, of the neurons with the largest scores."""
        return [int(place) for place in np.argsort(-self.score[step].ravel(), kind="stable")[:_BEST]]


def _neuron_cell(top: TopNeurons, step: int, place: int) -> Html:
    """``L12N345 +3.2`` for the neuron at ``place`` of all layers together."""
    layer = place // top.neuron.shape[2]
    neuron, coefficient = top.neuron[step].ravel()[place], top.coefficient[step].ravel()[place]
    return chip(f"{NeuronId(layer, int(neuron))} {coefficient:+.2f}")


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
    texts: Mapping[int, str] = field(default_factory=dict, repr=False, compare=False)
    """Texts of the tokens of the first neurons, by id; for looking at, not for reckoning."""

    def shown_ids(self) -> set[int]:
        """The ids of the tokens that a notebook shows."""
        return {int(i) for ids in (self.promoted_ids, self.suppressed_ids) for i in ids[:_SHOWN, :_TOKENS].ravel()}

    def _repr_html_(self) -> str:
        rows = [
            (
                str(NeuronId(int(layer), int(neuron))),
                f"{up[0]:+.2f}",
                chips(self.texts.get(int(i), f"<{i}>") for i in promoted[:_TOKENS]),
                f"{down[0]:+.2f}",
                chips(self.texts.get(int(i), f"<{i}>") for i in suppressed[:_TOKENS]),
            )
            for layer, neuron, promoted, up, suppressed, down in zip(
                self.layer[:_SHOWN], self.neuron[:_SHOWN], self.promoted_ids, self.promoted_logits,
                self.suppressed_ids, self.suppressed_logits, strict=False,
            )
        ]  # fmt: skip
        head = ("neuron", "logit", "promotes when active positively", "logit", "suppresses; promotes when negative")
        left = len(self.layer) - _SHOWN
        more = [paragraph(f"and {left:,} more neurons")] if left > 0 else []
        facts = f"{len(self.layer):,} neurons, {self.promoted_ids.shape[1]} tokens at each end, norm {self.norm}"
        return card("Vocabulary projection", facts, table(head, rows, numbers=[1, 3]), *more)


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
