"""Two variants, of one run or of two: accuracy on the same questions, activity, neurons shared and not."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from cotlens.analyze.bootstrap import draw_weights, interval
from cotlens.analyze.permutation import sign_flip_p_values
from cotlens.analyze.sets import ALL
from cotlens.analyze.statistics import wilson
from cotlens.errors import InputError, near_match
from cotlens.explorer.active import carried_by
from cotlens.explorer.attempt import attempt
from cotlens.explorer.concepts import ConceptFrequency, frequencies_of
from cotlens.explorer.neuron_table import neuron_table
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Page, Record
from cotlens.report.tables import concept_order

__all__ = [
    "ComparedAccuracy",
    "Comparison",
    "ConceptPair",
    "DifferentNeuron",
    "QuestionPair",
    "Shown",
    "Side",
    "compare",
]

#: Questions and neurons shown at once.
_QUESTIONS, _NEURONS = 200, 50
#: Neurons of which set are listed.
Shown = Literal["differing", "both", "only a", "only b"]


class Side(Record):
    """One of the two things compared."""

    run: str
    variant: str
    questions: int
    correct: int
    accuracy: float | None
    low: float | None
    high: float | None


class ComparedAccuracy(Record):
    """On the questions that both answered: what one gets right and the other does not."""

    questions: int
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float | None
    """Accuracy of the second less that of the first."""
    low: float | None
    high: float | None
    p_value: float | None
    """Of a sign-flip test, two-sided."""


class ConceptPair(Record):
    concept: str
    a: ConceptFrequency | None
    b: ConceptFrequency | None


class DifferentNeuron(Record):
    """``rate_a`` and ``rate_b`` are active steps per thousand recorded ones."""

    layer: int
    neuron: int
    hits_a: int
    hits_b: int
    rate_a: float
    rate_b: float
    promoted: list[str]
    concepts: list[str]


class Neurons(Record):
    steps_a: int
    steps_b: int
    shared: int
    only_a: int
    only_b: int
    rows: list[DifferentNeuron]
    page: Page
    shown: Shown


class QuestionPair(Record):
    """A question that one side answers right and the other does not."""

    question_id: str
    question: str
    correct_a: bool
    correct_b: bool
    answer_a: str | None
    answer_b: str | None


class Comparison(Record):
    a: Side
    b: Side
    accuracy: ComparedAccuracy | None
    concepts: list[ConceptPair]
    neurons: Neurons | None
    questions: list[QuestionPair]
    """At most 200."""
    missing: list[str]


def compare(
    first: OpenedRun, a: str, second: OpenedRun, b: str, shown: Shown = "differing", number: int = 1
) -> Comparison:
    """Variant ``a`` of one run beside ``b`` of the same or another.

    Raises:
        InputError: there is no such variant.
    """
    a, b = _variant(first, a), _variant(second, b)
    rows_a, rows_b = (run.completions().filter(variant=name) for run, name in ((first, a), (second, b)))
    both = rows_a.join(rows_b, on="question_id", suffix="_b", maintain_order="left")
    accuracy = attempt(lambda: _accuracy(first, both))
    concepts = attempt(lambda: _concepts(first, a, second, b))
    neurons = attempt(lambda: _neurons(first, a, second, b, shown, number))
    reasons = [found.reason for found in (accuracy, concepts, neurons) if found.reason]
    return Comparison(
        a=_side(first, a, rows_a),
        b=_side(second, b, rows_b),
        accuracy=accuracy.value,
        concepts=concepts.value or [],
        neurons=neurons.value,
        questions=_questions(both),
        missing=list(dict.fromkeys(reasons)),
    )


def _variant(opened: OpenedRun, name: str) -> str:
    for known in dict.fromkeys((name, name.replace("%2F", "/"))):
        if known in opened.variants:
            return known
    raise InputError(f"no variant {name!r} in {opened.run.path.name}{near_match(name, opened.variants)}")


def _side(opened: OpenedRun, variant: str, rows: pl.DataFrame) -> Side:
    correct = int(rows["correct"].sum())
    low, high = wilson(correct, rows.height, opened.run.config.analyze.confidence)
    empty = rows.is_empty()
    return Side(
        run=opened.run.path.resolve().name,
        variant=variant,
        questions=rows.height,
        correct=correct,
        accuracy=None if empty else correct / rows.height,
        low=None if empty else low,
        high=None if empty else high,
    )


def _accuracy(opened: OpenedRun, both: pl.DataFrame) -> ComparedAccuracy:
    if both.is_empty():
        raise InputError("the two have no question in common, so their accuracies are not compared")
    config = opened.run.config
    a, b = both["correct"].to_numpy(), both["correct_b"].to_numpy()
    difference = b.astype(float) - a.astype(float)
    weights = draw_weights(len(both), config.analyze.bootstrap, config.seed)
    low, high = interval(weights @ difference / len(both), len(both), config.analyze.confidence)
    p_value = sign_flip_p_values(difference[:, None], config.analyze.permutations, config.seed)[0]
    return ComparedAccuracy(
        questions=len(both),
        both=int((a & b).sum()),
        only_a=int((a & ~b).sum()),
        only_b=int((~a & b).sum()),
        neither=int((~a & ~b).sum()),
        difference=float(difference.mean()),
        low=float(low),
        high=float(high),
        p_value=float(p_value),
    )


def _concepts(first: OpenedRun, a: str, second: OpenedRun, b: str) -> list[ConceptPair]:
    one, other = frequencies_of(first), frequencies_of(second)

    def of(found: dict[str, list[ConceptFrequency]], concept: str, variant: str) -> ConceptFrequency | None:
        return next((row for row in found.get(concept, []) if row.variant == variant), None)

    names = [*concept_order([*one, *other]), *([ALL] if ALL in one or ALL in other else [])]
    return [ConceptPair(concept=name, a=of(one, name, a), b=of(other, name, b)) for name in names]


def _neurons(first: OpenedRun, a: str, second: OpenedRun, b: str, shown: Shown, number: int) -> Neurons:
    found = first.index().shared(a, b, None if second is first else second.index())
    rates = found.neurons.with_columns(
        rate_a=1000 * pl.col("hits_a") / max(1, found.steps_a), rate_b=1000 * pl.col("hits_b") / max(1, found.steps_b)
    ).with_columns(gap=(pl.col("rate_b") - pl.col("rate_a")).abs())
    chosen = {
        "both": rates.filter((pl.col("hits_a") > 0) & (pl.col("hits_b") > 0)),
        "only a": rates.filter(pl.col("hits_b") == 0),
        "only b": rates.filter(pl.col("hits_a") == 0),
    }.get(shown, rates)
    order = pl.min_horizontal("rate_a", "rate_b") if shown == "both" else pl.col("gap")
    page = Page(number=number, size=_NEURONS, total=chosen.height)
    rows = chosen.sort(order, "layer", "neuron", descending=[True, False, False]).slice(page.first, _NEURONS)
    return Neurons(
        steps_a=found.steps_a, steps_b=found.steps_b, shared=found.shared, only_a=found.only_a, only_b=found.only_b,
        rows=[_neuron(first, row) for row in rows.iter_rows(named=True)], page=page,
        shown=shown,
    )  # fmt: skip


def _neuron(opened: OpenedRun, row: dict[str, Any]) -> DifferentNeuron:
    layer, neuron = row["layer"], row["neuron"]
    table = attempt(lambda: neuron_table(opened)).value
    place = None if table is None else table.row(layer, neuron)
    carried = carried_by(opened)
    concepts = dict.fromkeys([*carried.get((layer, neuron, 1), []), *carried.get((layer, neuron, -1), [])])
    return DifferentNeuron(
        **{name: row[name] for name in ("layer", "neuron", "hits_a", "hits_b", "rate_a", "rate_b")},
        promoted=[] if table is None or place is None else table.tokens(place, 1),
        concepts=list(concepts),
    )


def _questions(both: pl.DataFrame) -> list[QuestionPair]:
    differing = both.filter(pl.col("correct") != pl.col("correct_b")).head(_QUESTIONS)
    return [
        QuestionPair(
            question_id=row["question_id"], question=row["question"], correct_a=row["correct"],
            correct_b=row["correct_b"], answer_a=row["answer_strict"], answer_b=row["answer_strict_b"],
        )
        for row in differing.iter_rows(named=True)
    ]  # fmt: skip
