"""Demonstrations as data: sentences with a place for an equation, and expressions that can be executed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources

import yaml

from cotlens.data.arithmetic import evaluate

__all__ = ["Demonstration", "Step", "load_demonstrations"]


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence of a solution.

    ``sentence`` has ``{equation}`` where the equation stands, if it has one. ``expression`` may use the
    results of earlier steps as ``r1``, ``r2``, ...
    """

    sentence: str
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked example. The answer is the result of the last step that calculates."""

    question: str
    steps: tuple[Step, ...]

    def results(self) -> list[Fraction]:
        """The correct results of the calculating steps, in order."""
        found: list[Fraction] = []
        for step in self.steps:
            if step.expression is not None:
                found.append(evaluate(step.expression, result_names(found)))
        return found


def result_names(results: list[Fraction]) -> dict[str, Fraction]:
    """``r1``, ``r2``, ... for use in later expressions."""
    return {f"r{number}": value for number, value in enumerate(results, start=1)}


@cache
def load_demonstrations() -> tuple[Demonstration, ...]:
    """The bundled set of eight."""
    text = resources.files("cotlens.data").joinpath("demonstrations.yaml").read_text(encoding="utf-8")
    return tuple(
        Demonstration(
            question=item["question"],
            steps=tuple(Step(step["sentence"], step.get("expression")) for step in item["steps"]),
        )
        for item in yaml.safe_load(text)
    )
