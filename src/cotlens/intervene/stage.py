"""The experiment: sets of neurons edited, against random sets that match them, on the same questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import polars as pl

from cotlens.analyze.edit_tables import write_edit_tables
from cotlens.data import is_correct, make_template
from cotlens.data.answers import decimal_text
from cotlens.generate.answering import Answer, Task, answer, ask
from cotlens.intervene.conditions import Condition, make_conditions, untouched
from cotlens.intervene.members import SETS_PART, discovered, make_members
from cotlens.intervene.reference import Reference
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import common_prefix_length
from cotlens.store import RunWriter
from cotlens.types import Progress

__all__ = ["intervene_stage"]

_STAGE = "intervene"
_UNTOUCHED = "none-00.parquet"
_BALANCE = "analysis/control_balance.parquet"
#: Bytes of terms that conditions which share batches may hold together; large sets take turns.
_TERM_BYTES = 2**29


def intervene_stage(run: RunWriter, load: Callable[[], LanguageModel], progress: Progress) -> None:
    """Write the sets, one part under ``interventions/`` for each condition, and the tables of their effects.

    The model is loaded when something is missing that needs it; sets that have no members are told before.

    Raises:
        InputError: a set has no members.
    """
    questions = _questions(run)
    if not (run.has_part(_STAGE, SETS_PART) and run.has_part(_STAGE, _BALANCE)):
        members, balance = make_members(run, load)
        run.add_frame(_STAGE, _BALANCE, balance)
        run.add_frame(_STAGE, SETS_PART, members)
    conditions = make_conditions(run.config.intervene, run.intervention_sets(), discovered(run))
    _answer(run, load, conditions, questions, progress)
    write_edit_tables(run)


def _questions(run: RunWriter) -> pl.DataFrame:
    """The completions under the tested variant to the questions that are asked again; the untouched answers are
    written, once, since later grading may judge them differently."""
    config = run.config.intervene
    completions = run.completions().filter(variant=config.variant)
    name = f"interventions/{_UNTOUCHED}"
    if not run.has_part(_STAGE, name):
        asked = completions.filter("correct") if config.questions == "correct" else completions
        tokens = (pl.col("token_ids").list.len() - pl.col("prompt_length")).cast(pl.Int32).alias("tokens")
        columns = ("question_id", pl.col("answer_strict").alias("answer"), "correct", "text", "stated", "stop_reason")
        run.add_frame(_STAGE, name, _stored(untouched(asked.select(*columns, tokens))))
    asked = pl.read_parquet(run.path / name, columns=["question_id"])
    return asked.join(completions, on="question_id", how="left", maintain_order="left")


def _answer(
    run: RunWriter,
    load: Callable[[], LanguageModel],
    conditions: Sequence[Condition],
    questions: pl.DataFrame,
    progress: Progress,
) -> None:
    """Answer the questions under every condition whose part is not there yet."""
    progress.begin(_STAGE, len(conditions) * questions.height)
    missing = [one for one in conditions if not run.has_part(_STAGE, f"interventions/{one.part}")]
    progress.advance((len(conditions) - len(missing)) * questions.height)
    if not missing or questions.is_empty():
        return
    lm, config = load(), run.config
    template = make_template(config.intervene.variant, config.prompt)
    prompts = ask(lm, template, questions["question"].to_list(), config.prompt)
    shared = common_prefix_length([lm.encode(prompt.text, prompt.special_tokens) for prompt in prompts])
    reference = Reference(lm, config.intervene.reference)
    for some in _batches(missing, lm):
        tasks = [Task(prompts, (one.edit(config.seed, reference),)) for one in some]
        answered = answer(lm, tasks, template.elicit, config.generate, progress.advance, shared)
        for condition, answers in zip(some, answered, strict=True):
            rows = _graded(questions, answers)
            run.add_frame(_STAGE, f"interventions/{condition.part}", _stored(condition.tag(rows)))


def _batches(conditions: Sequence[Condition], lm: LanguageModel) -> Iterator[list[Condition]]:
    """Conditions in their order, as many at a time as memory for their terms allows."""
    row_bytes = lm.d_model * lm.dtype.itemsize
    batch: list[Condition] = []
    held = 0
    for condition in conditions:
        size = len(condition.neurons) * row_bytes
        if batch and held + size > _TERM_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(condition)
        held += size
    yield batch


def _graded(questions: pl.DataFrame, answers: Sequence[Answer]) -> pl.DataFrame:
    golds = map(Decimal, questions["gold"])
    return pl.DataFrame(
        {
            "question_id": questions["question_id"],
            "answer": [decimal_text(found.strict) for found in answers],
            "correct": [is_correct(found.strict, gold) for found, gold in zip(answers, golds, strict=True)],
            "text": [found.completion.text for found in answers],
            "stated": [found.stated for found in answers],
            "stop_reason": [found.completion.stop_reason for found in answers],
            "tokens": [len(found.completion.token_ids) for found in answers],
        },
        schema_overrides={"answer": pl.String, "stated": pl.String, "tokens": pl.Int32},
    )


def _stored(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns in the order in which they are stored."""
    return rows.select(
        "set", "kind", "dose", "draw", "question_id", "answer", "correct", "text", "stated", "stop_reason", "target",
        "scope", "tokens",
    )  # fmt: skip
