"""Grading stored completions again: answers and grades anew from the stored texts, without the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cotlens.data import is_correct
from cotlens.data.answers import decimal_text, grade
from cotlens.errors import InputError
from cotlens.store import Run, RunWriter, damaged_parts, open_run

__all__ = ["Rescored", "rescore"]


class Rescored(NamedTuple):
    """What grading again changed: rows whose answer or grade is another one now, and the stages made from the old."""

    graded: int
    changes: list[dict[str, Any]]
    stale: Sequence[str]


def rescore(path: Path) -> Rescored:
    """Grade all completions of the run in ``path`` again, those under interventions too, and store what changed.

    Each file is replaced atomically. If a grade changed, tables and report are taken out of the manifest, to be made
    again by `cotlens run`, which loads no model for that. Which completions neurons were discovered in, and which
    questions were asked under interventions, is left as it was, also where only correct answers counted.

    Raises:
        InputError: no run, no completions yet, or a damaged file.
    """
    run = open_run(path)
    if not run.is_done("generate"):
        raise InputError(f"{path}: has no completions yet; run `cotlens generate {path}`")
    if damaged := damaged_parts(run):
        raise InputError(f"{path}: damaged: {', '.join(damaged)}; `cotlens run` with its settings makes them again")
    with RunWriter.open(path, run.config) as writer:
        parts = list(_stored(writer))
        changes = [change for part in parts for change in part.changes()]
        stages = writer.manifest.stages
        stale = [stage for stage in ("analyze", "report") if changes and stage in stages]
        for stage in stale:
            del stages[stage]
        if changes and "intervene" in stages:
            writer.reopen_tables("intervene")
        writer.save_manifest()
        for part in parts:
            if part.changes():
                writer.replace_frame(part.stage, part.name, part.after)
    return Rescored(sum(part.after.height for part in parts), changes, stale)


class _Part(NamedTuple):
    """A stored file of completions, as it is and as it is graded now. ``answer`` is the strict answer's column."""

    stage: str
    name: str
    answer: str
    before: pl.DataFrame
    after: pl.DataFrame

    def changes(self) -> list[dict[str, Any]]:
        return [
            {
                "file": self.name,
                "question_id": new["question_id"],
                "before": old[self.answer],
                "after": new[self.answer],
                "correct_before": old["correct"],
                "correct": new["correct"],
            }
            for old, new in zip(self.before.iter_rows(named=True), self.after.iter_rows(named=True), strict=True)
            if old != new
        ]


def _stored(run: Run) -> Iterator[_Part]:
    gold = run.completions().select("question_id", "gold").unique()
    for stage, folder, answer in (
        ("generate", "completions/", "answer_strict"),
        ("intervene", "interventions/", "answer"),
    ):
        record = run.manifest.stages.get(stage)
        for name in record.parts if record else ():
            if name.startswith(folder):
                before = pl.read_parquet(run.path / name)
                yield _Part(stage, name, answer, before, _graded(before, gold, answer))


def _graded(rows: pl.DataFrame, gold: pl.DataFrame, answer: str) -> pl.DataFrame:
    """``rows`` with answers and grades read from their texts."""
    golds = rows.select("question_id").join(gold, on="question_id", how="left", maintain_order="left")["gold"]
    found = [grade(text, stated) for text, stated in rows.select("text", "stated").iter_rows()]
    columns: dict[str, list[Any]] = {
        answer: [decimal_text(strict) for strict, _ in found],
        "answer_flexible": [decimal_text(flexible) for _, flexible in found],
        "correct": [is_correct(strict, Decimal(g)) for (strict, _), g in zip(found, golds, strict=True)],
        "correct_flexible": [is_correct(flexible, Decimal(g)) for (_, flexible), g in zip(found, golds, strict=True)],
    }
    return rows.with_columns(
        pl.Series(name, values, dtype=rows.schema[name]) for name, values in columns.items() if name in rows.columns
    )
