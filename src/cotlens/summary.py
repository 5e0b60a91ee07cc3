"""A run in a few numbers, for the terminal and for machines. Shows what there is of an unfinished run."""

from __future__ import annotations

from typing import Any

from cotlens.store import Run

__all__ = ["summarize"]


def summarize(run: Run) -> dict[str, Any]:
    """Stages, accuracy by variant, frequency by concept, and the effects of the interventions."""
    manifest = run.manifest
    found: dict[str, Any] = {
        "run": str(run.path),
        "model": manifest.config.model.name,
        "problems": manifest.config.problems.source,
        "stages": {name: record.status for name, record in manifest.stages.items()},
        "duration_s": round(sum(record.duration_s for record in manifest.stages.values()), 1),
    }
    if run.is_done("label"):
        found["reasoning_neurons"] = run.concepts().select("layer", "neuron").unique().height
        found["discovered_neurons"] = run.neurons().height
        if "reliability.parquet" in manifest.stages["label"].parts:  # a run labelled before judges were tested has none
            found["label_mode"] = manifest.config.label.mode
            found["reliability"] = run.reliability().fill_nan(None).to_dicts()
    if run.is_done("analyze"):
        found["accuracy"] = run.analysis("accuracy").to_dicts()
        found["frequencies"] = run.frequencies().to_dicts()
    # A run of an earlier version has no table of effects.
    if run.is_done("intervene") and run.has_analysis("effects"):
        found["effects"] = run.analysis("effects").fill_nan(None).to_dicts()
    if run.is_done("report"):
        found["report"] = str(run.path / "report.html")
    return found
