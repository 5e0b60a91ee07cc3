"""The tables of the interventions under ``analysis/``: effects, their draws, and how answers fail."""

from __future__ import annotations

import polars as pl

from cotlens.analyze.edit_effects import edit_effects
from cotlens.analyze.edit_measures import values_by_draw
from cotlens.analyze.failure_tables import EDIT, UNTOUCHED, failure_shares, intervention_failures
from cotlens.store import Run, RunWriter

__all__ = ["write_edit_tables"]


def write_edit_tables(run: RunWriter) -> None:
    """Write every table that what lies under ``interventions/`` and ``specificity/`` gives."""
    config, seed = run.config.analyze, run.config.seed
    tables = {"interventions": _as_asked(run, run.interventions())}
    if run.has_parts("intervene", "specificity/"):
        tables["specificity"] = _as_asked(run, run.specificity())
    failures = intervention_failures(tables["interventions"], run.completions())
    made = {
        "effects": edit_effects(tables, config, seed),
        "effect_draws": values_by_draw(tables),
        "edit_failures": failures,
        "edit_failure_shares": failure_shares(failures, EDIT, UNTOUCHED, config, seed),
    }
    for name, table in made.items():
        run.add_frame("intervene", f"analysis/{name}.parquet", table)


def _as_asked(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` in the order in which the settings name sets and edits, the untouched model first."""
    config = run.config.intervene
    sets = run.intervention_sets()["target"].unique(maintain_order=True)
    asked = pl.DataFrame(
        [
            (target, edit.kind, dose, scope)
            for target in sets
            for edit in config.edits
            for dose in edit.doses
            for scope in config.scopes
        ],
        schema={"target": pl.String, "kind": pl.String, "dose": pl.Float64, "scope": pl.String},
        orient="row",
    )
    place = asked.with_row_index("place")
    return (
        rows.join(place, on=asked.columns, how="left", maintain_order="left")
        .sort("place", pl.col("set") != pl.col("target"), "draw", nulls_last=False, maintain_order=True)
        .drop("place")
    )
