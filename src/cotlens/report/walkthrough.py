"""One completion, token by token, with the reasoning neurons behind each token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from cotlens.report.names import variant_names
from cotlens.report.stored_tokens import completion_tokens, has_tokens, with_equation
from cotlens.report.text import readable
from cotlens.store import Run
from cotlens.tokens import visible
from cotlens.types import SignedNeuron

__all__ = ["GLOSSES", "Active", "Step", "Walk", "walk_through"]

#: The roles written over their tokens, as in an interlinear gloss. The others are named where a token is chosen.
GLOSSES = {"operand": "opd", "operator": "op", "equals": "eq", "result": "res", "answer": "ans"}


@dataclass(frozen=True, slots=True)
class Active:
    """A reasoning neuron that is active at a step. ``rank`` counts from 1 within the layer's top-K."""

    name: str
    concepts: tuple[str, ...]
    coefficient: float
    rank: int
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A generated token, and the neurons active at the position that predicted it.

    ``continues`` if the token before it belongs to the same operand, operator, result, ...
    """

    index: int
    text: str
    breaks: int
    role: str
    continues: bool
    neurons: tuple[Active, ...]

    @property
    def gloss(self) -> str:
        return GLOSSES.get(self.role, "")

    @property
    def concepts(self) -> list[str]:
        """The concepts active here, the one with most neurons first."""
        return [concept for concept, _ in Counter(c for n in self.neurons for c in n.concepts).most_common()]


@dataclass(frozen=True, slots=True)
class Walk:
    """A question and the model's answer to it. ``busiest`` is the step with most reasoning neurons.

    ``stated`` is what the model wrote when it was asked once more for its answer; empty if it was not.
    """

    question: str
    gold: str
    answer: str
    stated: str
    variant: str
    correct: bool
    steps: tuple[Step, ...]

    @property
    def glosses(self) -> dict[str, str]:
        """Role and sign of those roles that occur."""
        found = {step.role for step in self.steps}
        return {role: gloss for role, gloss in GLOSSES.items() if role in found}

    @property
    def busiest(self) -> int:
        return max(range(len(self.steps)), key=lambda index: len(self.steps[index].neurons))


def walk_through(run: Run, concepts: pl.DataFrame, neurons: pl.DataFrame) -> Walk | None:
    """A completion chosen for being correct, with an equation, and short; None if activations or tokens are missing."""
    completion = _choose(run) if has_tokens(run) else None
    if completion is None:
        return None
    tokens = completion_tokens(run, completion["variant"], completion["question_id"])
    if not tokens:
        return None
    active = _active_neurons(run, completion, concepts, neurons)
    steps, before = [], ""
    for index, token in enumerate(tokens):
        text, role = token["text"], token["role"]
        shown = visible(text) if text else f"‹{token['token_id']}›"
        steps.append(Step(index, shown, text.count("\n"), role, role == before, tuple(active.get(index, ()))))
        before = role
    return Walk(
        question=readable(completion["question"]),
        gold=readable(completion["gold"] or "–", 60),
        answer=readable(completion["answer_strict"] or "none", 60),
        stated=readable(completion["stated"] or "", 200),
        variant=variant_names(run.config.prompt.variants)[completion["variant"]],
        correct=completion["correct"],
        steps=tuple(steps),
    )


def _choose(run: Run) -> dict[str, Any] | None:
    first = run.config.prompt.variants[0]
    recorded = run.scan_activations().filter(step=0, layer=0).select("variant", "question_id").unique().collect()
    table = (
        run.completions()
        .join(recorded, on=["variant", "question_id"], how="semi", maintain_order="left")
        .join(
            with_equation(run).with_columns(equation=True),
            on=["variant", "question_id"],
            how="left",
            maintain_order="left",
        )
        .with_columns(
            first=pl.col("variant") == first,
            equation=pl.col("equation").is_not_null(),
            length=pl.col("token_ids").list.len() - pl.col("prompt_length"),
        )
        .sort("correct", "first", "equation", "length", descending=[True, True, True, False], maintain_order=True)
    )
    return next(table.head(1).iter_rows(named=True), None)


def _active_neurons(
    run: Run, completion: Mapping[str, Any], concepts: pl.DataFrame, neurons: pl.DataFrame
) -> dict[int, list[Active]]:
    """The reasoning neurons active at each step, by layer and rank."""
    keys = ["layer", "neuron", "sign"]
    named = concepts.group_by(keys).agg(pl.col("concept").sort())
    found = (
        run.scan_activations()
        .filter(pl.col("variant") == completion["variant"], pl.col("question_id") == completion["question_id"])
        .select("step", "layer", "neuron", "coefficient", rank=pl.int_ranges(1, pl.col("neuron").list.len() + 1))
        .explode("neuron", "coefficient", "rank")
        .with_columns(sign=pl.col("coefficient").sign().cast(pl.Int8))
        .join(named.lazy(), on=keys)
        .join(neurons.lazy().select("layer", "neuron", "promoted", "suppressed"), on=["layer", "neuron"])
        .sort("step", "layer", "rank")
        .collect()
    )
    active: dict[int, list[Active]] = {}
    for row in found.iter_rows(named=True):
        tokens = row["promoted"] if row["sign"] > 0 else row["suppressed"]
        neuron = Active(
            name=str(SignedNeuron(row["layer"], row["neuron"], row["sign"])),
            concepts=tuple(row["concept"]),
            coefficient=row["coefficient"],
            rank=row["rank"],
            tokens=tuple(visible(token) for token in tokens[:8]),
        )
        active.setdefault(row["step"], []).append(neuron)
    return active
