"""The experiment: sets of neurons edited, against random sets that match them, on the same questions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from cotlens.analyze.edit_tables import write_edit_tables
from cotlens.data import is_correct, make_template
from cotlens.data.answers import decimal_text
from cotlens.data.plain import QUESTIONS_READ, TEXTS_READ
from cotlens.generate.answering import Answer, Task, answer, ask
from cotlens.intervene.conditions import UNTOUCHED, Condition, make_conditions
from cotlens.intervene.members import SETS_PART, discovered, make_members
from cotlens.intervene.reference import Reference
from cotlens.intervene.specificity import score_plain
from cotlens.model.additive import Edit
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import common_prefix_length
from cotlens.store import RunWriter
from cotlens.types import Progress

__all__ = ["intervene_stage"]

logger = logging.getLogger(__name__)


_STAGE = "intervene"
_BALANCE = "analysis/control_balance.parquet"
#: Bytes of terms that conditions which share batches may hold together; large sets take turns.
_TERM_BYTES = 2**29


def intervene_stage(run: RunWriter, load: Callable[[], LanguageModel], progress: Progress) -> None:
    """Write the sets; for each condition a part under ``interventions/`` and one under ``specificity/``; and tables.

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
    if questions.is_empty() and conditions:
        logger.warning("intervene: no question is left to ask, so no set of neurons is edited")
        conditions = []
    work = _Work(run, load, Reference(load, run.config.intervene.reference), progress)
    work.answer(conditions, questions)
    if run.config.intervene.specificity and conditions:
        work.read_plain([UNTOUCHED, *conditions])
    write_edit_tables(run)


def _questions(run: RunWriter) -> pl.DataFrame:
    """The completions under the tested variant to the questions that are asked again; the untouched answers are
    written, once, since later grading may judge them differently."""
    config = run.config.intervene
    completions = run.completions().filter(variant=config.variant)
    name = f"interventions/{UNTOUCHED.part}"
    if not run.has_part(_STAGE, name):
        asked = completions.filter("correct") if config.questions == "correct" else completions
        tokens = (pl.col("token_ids").list.len() - pl.col("prompt_length")).cast(pl.Int32).alias("tokens")
        columns = ("question_id", pl.col("answer_strict").alias("answer"), "correct", "text", "stated", "stop_reason")
        run.add_frame(_STAGE, name, _stored(UNTOUCHED.tag(asked.select(*columns, tokens))))
    asked = pl.read_parquet(run.path / name, columns=["question_id"])
    return asked.join(completions, on="question_id", how="left", maintain_order="left")


@dataclass(frozen=True, slots=True)
class _Work:
    """What the two kinds of parts have in common."""

    run: RunWriter
    load: Callable[[], LanguageModel]
    reference: Reference
    progress: Progress

    def answer(self, conditions: Sequence[Condition], questions: pl.DataFrame) -> None:
        """Answer the questions under every condition whose part is not there yet."""
        missing = self._missing(_STAGE, "interventions", conditions, questions.height)
        if not missing:
            return
        lm, config = self.load(), self.run.config
        template = make_template(config.intervene.variant, config.prompt)
        prompts = ask(lm, template, questions["question"].to_list(), config.prompt)
        shared = common_prefix_length([lm.encode(prompt.text, prompt.special_tokens) for prompt in prompts])
        for some in _batches(missing, lm):
            tasks = [Task(prompts, self._edits(condition)) for condition in some]
            answered = answer(lm, tasks, template.elicit, config.generate, self.progress.advance, shared)
            for condition, answers in zip(some, answered, strict=True):
                rows = condition.tag(_graded(questions, answers))
                self.run.add_frame(_STAGE, f"interventions/{condition.part}", _stored(rows))

    def read_plain(self, conditions: Sequence[Condition]) -> None:
        """Read plain text, and answer questions without arithmetic, under every condition."""
        missing = self._missing("specificity", "specificity", conditions, TEXTS_READ + QUESTIONS_READ)
        if not missing:
            return
        edits = [self._edits(condition) for condition in missing]
        for place, rows in score_plain(self.load(), edits, self.progress.advance):
            condition = missing[place]
            self.run.add_frame(_STAGE, f"specificity/{condition.part}", condition.tag(rows))

    def _missing(self, what: str, folder: str, conditions: Sequence[Condition], items: int) -> list[Condition]:
        missing = [one for one in conditions if not self.run.has_part(_STAGE, f"{folder}/{one.part}")]
        self.progress.begin(what, len(conditions) * items)
        self.progress.advance((len(conditions) - len(missing)) * items)
        return missing

    def _edits(self, condition: Condition) -> Sequence[Edit]:
        return condition.edits(self.run.config.seed, self.reference)


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
