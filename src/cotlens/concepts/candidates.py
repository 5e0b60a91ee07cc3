"""Which neurons are put before a judge, and for which concepts: those with several seed words among their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cotlens.concepts.concept import Concept
from cotlens.judge.words import normalise
from cotlens.store import Run
from cotlens.types import SignedNeuron

__all__ = ["Candidate", "SignedTokens", "candidates", "lowest_layer", "most_active", "seeds_among", "signed_tokens"]


@dataclass(frozen=True, slots=True)
class SignedTokens:
    """A neuron with one sign: the ``tokens`` that it promotes, and suppresses (``opposite``), and how often it was
    active so."""

    neuron: SignedNeuron
    tokens: tuple[str, ...]
    opposite: tuple[str, ...]
    hits: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A neuron that passed the seed filter of a concept."""

    signed: SignedTokens
    concept: Concept


def seeds_among(tokens: tuple[str, ...], concept: Concept) -> frozenset[str]:
    """The distinct seeds of ``concept`` among ``tokens``; case and space variants of a word are one seed."""
    return concept.seeds & {normalise(token) for token in tokens}


def lowest_layer(run: Run) -> int:
    """The first layer that is labelled: the published code leaves out 6 of 32, and so, in proportion, do we."""
    n_layers: int = run.manifest.model["n_layers"]
    return round(n_layers * 6 / 32)


def signed_tokens(run: Run) -> list[SignedTokens]:
    """Every neuron of a labelled layer, once for each sign with which it was found active.

    With a positive coefficient it promotes the top of its projection, with a negative one the bottom.
    """
    lowest = lowest_layer(run) if run.config.label.min_layer is None else run.config.label.min_layer
    return list(_signed(run.neurons().filter(pl.col("layer") >= lowest)))


def candidates(signed: Sequence[SignedTokens], concepts: Sequence[Concept], min_seeds: int) -> list[Candidate]:
    """Neurons and concepts of which at least ``min_seeds`` distinct seeds are among the tokens."""
    return [
        Candidate(item, concept)
        for item in signed
        for concept in concepts
        if len(seeds_among(item.tokens, concept)) >= min_seeds
    ]


def most_active(signed: Sequence[SignedTokens], most: int) -> list[SignedTokens]:
    """The ``most`` that were active most often; ties in order."""
    return sorted(signed, key=lambda item: (-item.hits, item.neuron))[:most]


def _signed(neurons: pl.DataFrame) -> Iterator[SignedTokens]:
    columns = ("layer", "neuron", "hits_positive", "hits_negative", "promoted", "suppressed")
    for layer, neuron, positive, negative, promoted, suppressed in neurons.select(columns).iter_rows():
        up, down = tuple(promoted), tuple(suppressed)
        if positive:
            yield SignedTokens(SignedNeuron(layer, neuron, 1), up, down, positive)
        if negative:
            yield SignedTokens(SignedNeuron(layer, neuron, -1), down, up, negative)
