"""The experiment: the reasoning neurons corrupted, against random sets matched by layer, on the same questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cotlens.analyze.controls import draw_matched, signed_pool
from cotlens.data import is_correct, make_template
from cotlens.data.answers import decimal_text
from cotlens.generate.answering import Answer, Task, answer, ask
from cotlens.intervene.edits import Edit, Noise, Zero
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import common_prefix_length
from cotlens.store import RunWriter
from cotlens.types import Problem, Progress

__all__ = ["intervene_stage"]


@dataclass(frozen=True, slots=True)
class _Condition:
    set: str
    draw: int
    neurons: list[tuple[int, int]]
    seed: int

    @property
    def part(self) -> str:
        """The file with its answers."""
        return f"interventions/{self.set}-{self.draw:02d}.parquet"


def intervene_stage(run: RunWriter, lm: LanguageModel, problems: Sequence[Problem], progress: Progress) -> None:
    """Write one part under ``interventions/`` for each draw, and ``intervention_sets.parquet``, what was edited."""
    config = run.config.intervene
    untouched = run.completions().filter(variant=config.variant)
    asked = set(untouched["question_id"])
    problems = [problem for problem in problems if problem.id in asked]
    run.add_frame("intervene", "interventions/none-00.parquet", _untouched(untouched))
    conditions = list(_conditions(run))
    run.add_frame("intervene", "intervention_sets.parquet", _members(conditions))
    progress.begin("intervene", len(conditions) * len(problems))
    missing = [condition for condition in conditions if not run.has_part("intervene", condition.part)]
    progress.advance((len(conditions) - len(missing)) * len(problems))
    template = make_template(config.variant, run.config.prompt)
    prompts = ask(lm, template, [problem.question for problem in problems], run.config.prompt)
    shared = common_prefix_length([lm.encode(prompt.text, prompt.special_tokens) for prompt in prompts])
    tasks = [Task(prompts, (_edit(run, condition),)) for condition in missing]
    answered = answer(lm, tasks, template.elicit, run.config.generate, progress.advance, shared)
    for condition, answers in zip(missing, answered, strict=True):
        run.add_frame("intervene", condition.part, _answers(run, condition, problems, answers))


def _conditions(run: RunWriter) -> Iterator[_Condition]:
    config = run.config.intervene
    seed = run.config.seed
    reasoning = run.concepts()
    if reasoning.is_empty():
        return
    target = reasoning.select("layer", "neuron").unique().sort("layer", "neuron")
    for draw in range(config.reasoning_draws if config.kind == "noise" else min(1, config.reasoning_draws)):
        yield _Condition("reasoning", draw, target.rows(), seed + draw)
    pool = signed_pool(run.neurons(), excluded=reasoning)
    for draw in range(config.control_draws):
        chosen = draw_matched(pool, target, [seed, draw], unique=True)
        yield _Condition("random", draw, chosen.rows(), seed + draw)


def _edit(run: RunWriter, condition: _Condition) -> Edit:
    config = run.config.intervene
    if config.kind == "zero":
        return Zero(condition.neurons)
    return Noise(condition.neurons, sigma=config.dose, seed=condition.seed)


def _answers(
    run: RunWriter, condition: _Condition, problems: Sequence[Problem], answers: Sequence[Answer]
) -> pl.DataFrame:
    return _frame(
        condition.set,
        run.config.intervene.kind,
        run.config.intervene.dose,
        condition.draw,
        pl.DataFrame(
            {
                "question_id": [problem.id for problem in problems],
                "answer": [decimal_text(found.strict) for found in answers],
                "correct": [is_correct(a.strict, p.gold) for a, p in zip(answers, problems, strict=True)],
                "text": [found.completion.text for found in answers],
                "stated": [found.stated for found in answers],
                "stop_reason": [found.completion.stop_reason for found in answers],
            },
            schema_overrides={"answer": pl.String, "stated": pl.String},
        ),
    )


def _untouched(completions: pl.DataFrame) -> pl.DataFrame:
    """The untouched model's answers are those of the first stage."""
    columns = ("question_id", pl.col("answer_strict").alias("answer"), "correct", "text", "stated", "stop_reason")
    return _frame("none", "none", 0.0, 0, completions.select(*columns))


def _frame(name: str, kind: str, dose: float, draw: int, answers: pl.DataFrame) -> pl.DataFrame:
    return answers.select(
        pl.lit(name).alias("set"), pl.lit(kind).alias("kind"), pl.lit(dose, pl.Float64).alias("dose"),
        pl.lit(draw, pl.Int32).alias("draw"), "question_id", "answer", "correct", "text", "stated", "stop_reason",
    )  # fmt: skip


def _members(conditions: Sequence[_Condition]) -> pl.DataFrame:
    rows = [(c.set, c.draw, layer, neuron) for c in conditions for layer, neuron in c.neurons]
    schema = {"set": pl.String, "draw": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")
