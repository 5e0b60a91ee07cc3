"""Every table of a run that the report shows, read when first asked for.

A property raises `NothingToShow`, or the error of the run directory, where the run does not hold what it needs; the
others are not touched by that.
"""

from __future__ import annotations

from functools import cached_property

import polars as pl

from cotlens.concepts import lowest_layer
from cotlens.errors import InputError
from cotlens.report import analysis_rows, effect_rows, tables
from cotlens.report.edits import set_labels, set_names, set_order
from cotlens.report.figure import NothingToShow
from cotlens.report.names import variant_names
from cotlens.report.tables import Row
from cotlens.store import Run

__all__ = ["Results"]


class Results:
    """The rows of every figure and table, in the order shown; empty where there was nothing to count."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.names = variant_names(run.config.prompt.variants)
        self.reference_id = run.config.analyze.reference_of(run.config.prompt.variants)

    @property
    def reference(self) -> str:
        """What the variant of reference is called."""
        return self.names[self.reference_id]

    @cached_property
    def accuracy(self) -> list[Row]:
        return tables.accuracy_rows(self._analysis("accuracy"), self.names, self.run.manifest.prompts)

    @cached_property
    def failures(self) -> list[Row]:
        return analysis_rows.failure_rows(self._analysis("failure_shares"), self.names)

    @cached_property
    def comparison(self) -> list[Row]:
        return tables.comparison_rows(self._analysis("frequencies"), self.names)

    @cached_property
    def differences(self) -> list[Row]:
        return analysis_rows.difference_rows(self._analysis("comparisons"), self.names)

    @cached_property
    def correctness(self) -> list[Row]:
        return analysis_rows.correctness_rows(self._analysis("correctness"), self.names)

    @cached_property
    def roles(self) -> list[Row]:
        return analysis_rows.role_rows(self._analysis("roles"), self.reference_id)

    @cached_property
    def steps(self) -> list[Row]:
        return tables.step_rows(self._analysis("steps"), self.names)

    @cached_property
    def by_layer(self) -> list[Row]:
        return tables.labelled_by_layer(self.concepts)

    @cached_property
    def concepts(self) -> pl.DataFrame:
        return self.run.concepts()

    @cached_property
    def concept_ids(self) -> list[str]:
        return tables.concept_order(self.concepts["concept"])

    @cached_property
    def neurons(self) -> pl.DataFrame:
        return self.run.neurons()

    @cached_property
    def projected(self) -> int:
        """How many rows `neurons` has, without reading them: of a large model they take half a gigabyte."""
        found = pl.scan_parquet(self.run.part_paths("project", "neurons.parquet")).select(pl.len())
        return int(found.collect().item())

    @cached_property
    def reasoning(self) -> int:
        """Reasoning neurons; one that was labelled with both signs or for two concepts counts once."""
        return self.concepts.select("layer", "neuron").n_unique()

    @cached_property
    def problems(self) -> int:
        return self.run.completions()["question_id"].n_unique()

    @cached_property
    def lowest(self) -> int:
        """The lowest layer that was labelled."""
        given = self.run.config.label.min_layer
        return lowest_layer(self.run) if given is None else given

    @cached_property
    def n_layers(self) -> int:
        found = self.run.manifest.model.get("n_layers")
        if not isinstance(found, int):
            raise NothingToShow("How many layers the model has is not recorded.")
        return found

    @cached_property
    def set_names(self) -> dict[str, str]:
        """What each edited set is called, in the order shown."""
        return set_names(set_order(self._intervention("effects")["target"].drop_nulls()))

    @cached_property
    def set_labels(self) -> dict[str, str]:
        """`set_names` with the number of neurons in brackets."""
        try:
            return set_labels(self.set_names, self.run.intervention_sets())
        except InputError:
            return self.set_names

    @cached_property
    def effects(self) -> list[Row]:
        return effect_rows.effect_rows(self._intervention("effects"), self.set_labels)

    @cached_property
    def control_draws(self) -> list[Row]:
        return effect_rows.control_draw_rows(self._intervention("effect_draws"), self.effects)

    @cached_property
    def edit_failures(self) -> list[Row]:
        return effect_rows.edit_failure_rows(self._intervention("edit_failure_shares"), self.set_names)

    @cached_property
    def balance(self) -> list[Row]:
        return effect_rows.balance_rows(self._intervention("control_balance"), self.set_labels)

    def _analysis(self, name: str) -> pl.DataFrame:
        return self._table("analyze", name)

    def _intervention(self, name: str) -> pl.DataFrame:
        return self._table("intervene", name)

    def _table(self, stage: str, name: str) -> pl.DataFrame:
        """A table of a stage; a half-finished run may lack it, and one of an earlier version."""
        part = f"analysis/{name}.parquet"
        if self.run.has_parts(stage, part):
            return self.run.analysis(name)
        record = self.run.manifest.stages.get(stage)
        if record is None:
            raise NothingToShow(f"The stage “{stage}” has not run, so there is no {part}.")
        if record.status != "done":
            raise NothingToShow(f"The stage “{stage}” has not come to its end, so there is no {part} yet.")
        raise NothingToShow(f"The run has no {part}; it was made by a version of cotlens that did not write it.")
