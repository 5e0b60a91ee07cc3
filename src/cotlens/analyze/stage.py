"""The tables under ``analysis/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cotlens.analyze.accuracy import accuracy_by_variant, accuracy_differences
from cotlens.analyze.breakdowns import by_layer, by_layer_and_role, by_step
from cotlens.analyze.comparisons import compare_frequencies
from cotlens.analyze.correctness import predict_correctness
from cotlens.analyze.counting import Counts, count_activity
from cotlens.analyze.failure_tables import completion_failures, failure_shares
from cotlens.analyze.frequencies import frequencies, frequencies_by_role
from cotlens.analyze.sets import SetIndex, index_sets, make_sets
from cotlens.analyze.step_roles import stored_roles
from cotlens.errors import InputError
from cotlens.store import Run, RunWriter
from cotlens.types import Progress

__all__ = ["analyze_stage"]


def analyze_stage(run: RunWriter, progress: Progress) -> None:
    """Write accuracy and failures, which ask for texts alone, then everything that is counted in activations."""
    progress.begin("analyze", 2 + len(run.config.prompt.variants))
    config, seed = run.config.analyze, run.config.seed
    variants = run.config.prompt.variants
    reference = config.reference_of(variants)
    completions = run.completions()

    failures = completion_failures(completions)
    _add(run, "accuracy", accuracy_by_variant(completions, variants, config.confidence))
    _add(run, "accuracy_differences", accuracy_differences(completions, variants, reference, config, seed))
    _add(run, "failures", failures)
    _add(run, "failure_shares", failure_shares(failures, ["variant"], (reference,), config, seed))
    progress.advance(1)

    index = index_sets(make_sets(run.concepts(), run.neurons(), config.control_draws, seed), run.neurons())
    roles = stored_roles(run)
    free = _count(run, run.part_paths("discover", "activations/"), index, roles, progress)
    _add(run, "frequencies", frequencies(free, index, config, seed))
    if roles is not None:
        _add(run, "roles", frequencies_by_role(free, index, config, seed))
        _add(run, "activity", by_layer_and_role(free, index))
    _add(run, "layers", by_layer(free, index))
    _add(run, "steps", by_step(free, index))
    _add(run, "correctness", predict_correctness(free, completions, index, config, seed))

    forced = _count_forced(run, reference, index, roles)
    _add(run, "comparisons", compare_frequencies(free, forced, reference, index, config, seed))
    progress.advance(1)


def _add(run: RunWriter, name: str, table: pl.DataFrame) -> None:
    run.add_frame("analyze", f"analysis/{name}.parquet", table)


def _count(
    run: Run, parts: Sequence[Path], index: SetIndex, roles: pl.DataFrame | None, progress: Progress | None = None
) -> dict[str, Counts]:
    """Counts by variant; a part holds one variant's activations."""
    by_variant: dict[str, list[Path]] = {}
    for part in parts:
        for name in pl.scan_parquet(part).select(pl.col("variant").unique()).collect()["variant"]:
            by_variant.setdefault(name, []).append(part)
    n_layers = int(run.manifest.model["n_layers"])
    counts = {}
    for variant in run.config.prompt.variants:
        if variant in by_variant:
            counts[variant] = count_activity(by_variant[variant], variant, index, roles, n_layers)
        if progress is not None:
            progress.advance(1)
    return counts


def _count_forced(run: Run, reference: str, index: SetIndex, roles: pl.DataFrame | None) -> dict[str, Counts]:
    """Counts of the reference's completions under each variant's prompt, where they were read so."""
    try:
        parts = run.part_paths("reread", "reread/")
    except InputError:
        return {}
    if roles is not None:
        own = roles.filter(variant=reference).drop("variant")
        roles = pl.concat(own.select(pl.lit(v).alias("variant"), pl.all()) for v in run.config.prompt.variants)
    return _count(run, parts, index, roles)
