"""Every table of a run that the report shows, read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from cotlens.analyze import Effect, intervention_effects, main_edit
from cotlens.concepts import lowest_layer
from cotlens.report import analysis_rows, tables
from cotlens.report.names import variant_names
from cotlens.report.tables import Row
from cotlens.store import Run

__all__ = ["Results", "read_results"]

#: Tables that a run may have been analysed without.
_TABLES = ("failure_shares", "comparisons", "correctness", "roles", "edit_failure_shares")


@dataclass(frozen=True, slots=True)
class Results:
    """The rows of every figure and table, empty where the run holds nothing."""

    run: Run
    names: dict[str, str]
    """What each variant is called."""
    reference: str
    """What the variant of reference is called."""
    accuracy: list[Row]
    failures: list[Row]
    comparison: list[Row]
    differences: list[Row]
    correctness: list[Row]
    roles: list[Row]
    steps: list[Row]
    by_layer: list[Row]
    edit_failures: list[Row]
    concept_ids: list[str]
    concepts: pl.DataFrame
    neurons: pl.DataFrame
    interventions: pl.DataFrame
    effects: list[Effect]
    p_value: float
    problems: int
    lowest: int

    @property
    def reasoning(self) -> int:
        """Reasoning neurons; one that was labelled with both signs or for two concepts counts once."""
        return self.concepts.select("layer", "neuron").n_unique()


def read_results(run: Run) -> Results:
    """All that the report shows of ``run``."""
    config, concepts = run.config, run.concepts()
    interventions = main_edit(run.interventions(), config.intervene)
    effects, p_value = intervention_effects(interventions, config.analyze.confidence)
    names = variant_names(config.prompt.variants)
    reference = config.analyze.reference_of(config.prompt.variants)
    completions = run.completions()
    lowest = config.label.min_layer
    tabled = {name: _table(run, name) for name in _TABLES}
    return Results(
        run=run,
        names=names,
        reference=names[reference],
        accuracy=tables.accuracy_rows(run.analysis("accuracy"), names, run.manifest.prompts),
        failures=_rows(tabled["failure_shares"], lambda table: analysis_rows.failure_rows(table, names)),
        comparison=tables.comparison_rows(run.frequencies(), names),
        differences=_rows(tabled["comparisons"], lambda table: analysis_rows.difference_rows(table, names)),
        correctness=_rows(tabled["correctness"], lambda table: analysis_rows.correctness_rows(table, names)),
        roles=_rows(tabled["roles"], lambda table: analysis_rows.role_rows(table, reference)),
        steps=tables.step_rows(run.analysis("steps"), names),
        by_layer=tables.labelled_by_layer(concepts),
        edit_failures=_rows(
            tabled["edit_failure_shares"],
            lambda table: analysis_rows.edit_failure_rows(main_edit(table, config.intervene)),
        ),
        concept_ids=tables.concept_order(concepts["concept"]),
        concepts=concepts,
        neurons=run.neurons(),
        interventions=interventions,
        effects=effects,
        p_value=p_value,
        problems=completions["question_id"].n_unique(),
        lowest=lowest_layer(run) if lowest is None else lowest,
    )


def _table(run: Run, name: str) -> pl.DataFrame | None:
    """A table of the analysis; None in a run that was analysed before there was one."""
    return run.analysis(name) if run.has_analysis(name) else None


def _rows(table: pl.DataFrame | None, rows: Callable[[pl.DataFrame], list[Row]]) -> list[Row]:
    return [] if table is None or table.is_empty() else rows(table)
