"""The tables of the interventions under ``analysis/``: effects, their draws, and how answers fail."""

from __future__ import annotations

from cotlens.analyze.edit_effects import edit_effects
from cotlens.analyze.edit_measures import values_by_draw
from cotlens.analyze.failure_tables import EDIT, UNTOUCHED, failure_shares, intervention_failures
from cotlens.store import RunWriter

__all__ = ["write_edit_tables"]


def write_edit_tables(run: RunWriter) -> None:
    """Write every table that what lies under ``interventions/`` and ``specificity/`` gives."""
    config, seed = run.config.analyze, run.config.seed
    tables = {"interventions": run.interventions()}
    if run.has_parts("intervene", "specificity/"):
        tables["specificity"] = run.specificity()
    failures = intervention_failures(tables["interventions"], run.completions())
    made = {
        "effects": edit_effects(tables, config, seed),
        "effect_draws": values_by_draw(tables),
        "edit_failures": failures,
        "edit_failure_shares": failure_shares(failures, EDIT, UNTOUCHED, config, seed),
    }
    for name, table in made.items():
        run.add_frame("intervene", f"analysis/{name}.parquet", table)
