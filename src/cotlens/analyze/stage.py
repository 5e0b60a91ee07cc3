"""The tables under ``analysis/``."""

from __future__ import annotations

import polars as pl

from cotlens.analyze.accuracy import accuracy_by_variant
from cotlens.analyze.frequencies import active_steps, frequencies, frequencies_by, make_sets
from cotlens.store import RunWriter
from cotlens.types import Progress

__all__ = ["analyze_stage"]


def analyze_stage(run: RunWriter, progress: Progress) -> None:
    """Write accuracy, frequencies, layers and steps."""
    config = run.config
    progress.begin("analyze", 4)

    accuracy = accuracy_by_variant(run.completions(), config.prompt.variants, config.analyze.confidence)
    run.add_frame("analyze", "analysis/accuracy.parquet", accuracy)
    progress.advance(1)

    sets = make_sets(run.concepts(), run.neurons(), config.analyze.control_draws, config.seed)
    activations = run.scan_activations()
    active = active_steps(activations, sets)
    recorded = activations.filter(pl.col("layer") == 0).select("variant", "question_id", "step").collect()
    per_question = recorded.group_by("variant", "question_id").agg(steps=pl.len()).sort("variant", "question_id")
    table = frequencies(active, sets, per_question, config.analyze, config.seed)
    run.add_frame("analyze", "analysis/frequencies.parquet", table)
    progress.advance(1)

    per_variant = recorded.group_by("variant").agg(steps=pl.len())
    run.add_frame("analyze", "analysis/layers.parquet", frequencies_by("layer", active, sets, per_variant))
    progress.advance(1)

    per_step = recorded.group_by("variant", "step").agg(steps=pl.len())
    run.add_frame("analyze", "analysis/steps.parquet", frequencies_by("step", active, sets, per_step))
    progress.advance(1)
