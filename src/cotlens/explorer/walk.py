"""A completion as its page shows it: how dark each token is, and the grid of one step."""

from __future__ import annotations

from dataclasses import dataclass

from cotlens.explorer.active import Cell, active_neurons, concept_counts, grid
from cotlens.explorer.attempt import attempt
from cotlens.explorer.completions import Completion, read_completion
from cotlens.explorer.opened import OpenedRun
from cotlens.report.tables import concept_order

__all__ = ["ALL", "Walk", "concepts_of", "read_walk"]

ALL = "all"
#: Shades of a token, above none.
_SHADES = 5


@dataclass(frozen=True, slots=True)
class Walk:
    """``place`` is the chosen concept's among all, for its colour; -1 for all concepts together."""

    completion: Completion
    step: int
    place: int
    counts: list[int]
    """At each step, how many neurons of the chosen concept are active; empty where that is not known."""
    heat: list[int]
    grid: list[list[Cell]]
    reason: str
    """Why there are no active neurons to show."""

    @property
    def active(self) -> bool:
        return bool(self.grid)

    @property
    def glossed(self) -> bool:
        return any(token.gloss for token in self.completion.tokens)

    @property
    def labelled(self) -> list[Cell]:
        """Active neurons with a concept, by layer and rank."""
        return [cell for row in self.grid for cell in row if cell.concepts]


def concepts_of(opened: OpenedRun) -> list[str]:
    """The concepts that neurons were labelled with, in the order of their colours."""
    if not opened.has("label", "concepts.parquet"):
        return []
    return attempt(lambda: concept_order(opened.concepts()["concept"])).value or []


def read_walk(opened: OpenedRun, variant: str, question_id: str, concept: str, step: int | None) -> Walk:
    """A completion, coloured by ``concept``, at ``step``, or where most neurons of the concept are active.

    Raises:
        InputError: there is no such completion.
    """
    completion = read_completion(opened, variant, question_id)
    found = attempt(lambda: active_neurons(opened, completion.variant, completion.question_id))
    length = max(1, len(completion.tokens))
    place = concepts_of(opened).index(concept) if concept in concepts_of(opened) else -1
    if found.value is None:
        return Walk(completion, 0, place, [], [0] * length, [], found.reason)
    by_concept = concept_counts(opened, found.value)
    counts = by_concept.get(concept) or [sum(column) for column in zip(*by_concept.values(), strict=True)]
    steps = found.value.neuron.shape[0]
    if step is None:
        step = max(range(steps), key=lambda at: counts[at] if counts else 0)
    step = min(max(step, 0), steps - 1)
    heat = [*shades(counts), *[0] * length][: max(length, steps)]
    return Walk(completion, step, place, counts, heat, grid(opened, found.value, step), "")


def shades(counts: list[int]) -> list[int]:
    """From none, 0, to most, 5."""
    most = max(counts, default=0)
    return [0 if not count else max(1, round(_SHADES * count / most)) for count in counts]
