"""Every question of a labelling run: those about candidates, and mixed in blind those that test the judge.

- ``random``: a random neuron of a candidate's layer and sign, which passes no seed filter, asked for its concept; in
  open labelling, one that is not among the most active;
- ``shuffled``: the candidates' own tokens dealt anew, so that the words are the same and belong to nothing together;
- ``retest``: a candidate's question once more.

The judge can't tell which is which: the texts have one form, no neuron is named, and the order is random.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from cotlens.concepts.candidates import Candidate, SignedTokens, candidates, most_active
from cotlens.concepts.concept import Concept
from cotlens.config import LabelConfig
from cotlens.judge.book import Asked
from cotlens.judge.protocol import NamingQuestion

__all__ = ["plan_concepts", "plan_naming", "shuffled_order"]

T = TypeVar("T")

_CONTROLS, _ORDER = 1, 2


def plan_concepts(
    signed: Sequence[SignedTokens], concepts: Sequence[Concept], config: LabelConfig, seed: int
) -> list[Asked]:
    """The questions about concepts, those for labels first and in the order of the neurons."""
    found = candidates(signed, concepts, config.min_seeds)
    both = config.show == "both"
    labels = [_about(candidate.concept, candidate.signed, both) for candidate in found]
    if not found:
        return []
    rng = np.random.default_rng([seed, _CONTROLS])
    randoms = _random_controls(found, signed, config, rng)
    shuffled = _shuffled_controls(found, config, rng)
    return [*labels, *randoms, *shuffled, *_retests(labels, config.retests, rng)]


def plan_naming(signed: Sequence[SignedTokens], config: LabelConfig, seed: int) -> list[Asked]:
    """The questions of open labelling: what is the concept of each of the most active neurons?

    A random neuron may well have one, so there is no right answer to the question about it.
    """
    chosen = most_active(signed, config.open_neurons)
    if not chosen:
        return []

    def about(item: SignedTokens, tokens: tuple[str, ...]) -> NamingQuestion:
        return NamingQuestion(tokens, item.opposite if config.show == "both" else ())

    rng = np.random.default_rng([seed, _CONTROLS])
    labels = [Asked(about(item, item.tokens), "label", item.neuron) for item in chosen]
    drawn = {item.neuron: item for _, item in _others(chosen, signed, config.random_controls, rng)}
    randoms = [Asked(about(item, item.tokens), "random", item.neuron) for item in drawn.values()]
    shuffled = []
    for place, tokens in enumerate(_deal([item.tokens for item in chosen], config.shuffled_controls, rng)):
        like = chosen[place % len(chosen)]
        shuffled.append(Asked(about(like, tokens), "shuffled", like.neuron, place, expected=False))
    return [*labels, *randoms, *shuffled, *_retests(labels, config.retests, rng)]


def shuffled_order(items: Sequence[T], seed: int) -> list[T]:
    """``items`` in the order in which they are asked."""
    order = np.random.default_rng([seed, _ORDER]).permutation(len(items))
    return [items[place] for place in order.tolist()]


def _about(concept: Concept, item: SignedTokens, both: bool) -> Asked:
    return Asked(concept.ask(item.tokens, item.opposite if both else ()), "label", item.neuron)


def _random_controls(
    found: Sequence[Candidate], signed: Sequence[SignedTokens], config: LabelConfig, rng: np.random.Generator
) -> list[Asked]:
    chosen: dict[tuple[object, str], Asked] = {}
    for place, item in _others([candidate.signed for candidate in found], signed, config.random_controls, rng):
        concept = found[place].concept
        question = concept.ask(item.tokens, item.opposite if config.show == "both" else ())
        chosen[item.neuron, concept.id] = Asked(question, "random", item.neuron, expected=False)
    return list(chosen.values())


def _others(
    chosen: Sequence[SignedTokens], signed: Sequence[SignedTokens], number: int, rng: np.random.Generator
) -> Iterator[tuple[int, SignedTokens]]:
    """Up to ``number`` times: a place in ``chosen``, and a random neuron of its layer and sign that is not chosen."""
    taken = {item.neuron for item in chosen}
    pools: dict[tuple[int, int], list[SignedTokens]] = defaultdict(list)
    for item in signed:
        if item.neuron not in taken:
            pools[item.neuron.layer, item.neuron.sign].append(item)
    for _ in range(number):
        place = int(rng.integers(len(chosen)))
        pool = pools[chosen[place].neuron.layer, chosen[place].neuron.sign]
        if pool:
            yield place, pool[int(rng.integers(len(pool)))]


def _shuffled_controls(found: Sequence[Candidate], config: LabelConfig, rng: np.random.Generator) -> list[Asked]:
    lists = list({candidate.signed.neuron: candidate.signed.tokens for candidate in found}.values())
    both = config.show == "both"
    asked = []
    for place, tokens in enumerate(_deal(lists, config.shuffled_controls, rng)):
        like = found[int(rng.integers(len(found)))]
        question = like.concept.ask(tokens, like.signed.opposite if both else ())
        asked.append(Asked(question, "shuffled", like.signed.neuron, place, expected=False))
    return asked


def _deal(lists: Sequence[tuple[str, ...]], number: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """So many lists of tokens drawn from all of ``lists``, as long as these, no token twice in one."""
    pool = [token for tokens in lists for token in tokens]
    if len(lists) < 2:
        return []
    dealt = []
    for place in range(number):
        length = len(lists[place % len(lists)])
        order = rng.permutation(len(pool))
        dealt.append(tuple(dict.fromkeys(pool[i] for i in order.tolist()))[:length])
    return dealt


def _retests(labels: Sequence[Asked], number: int, rng: np.random.Generator) -> list[Asked]:
    chosen = sorted(rng.permutation(len(labels))[:number].tolist())
    return [Asked(labels[place].question, "retest", labels[place].neuron, tag=1) for place in chosen]
