"""Which figures a run has, in the order in which they are counted."""

from __future__ import annotations

from cotlens.report import analysis_exhibits, exhibits
from cotlens.report.exhibits import Figure
from cotlens.report.results import Results
from cotlens.report.text import readable

__all__ = ["all_figures"]


def all_figures(results: Results) -> dict[str, Figure | None]:
    """The figures by name, numbered; None where the run holds nothing to draw."""
    confidence = results.run.config.analyze.confidence
    n_layers = results.run.manifest.model["n_layers"]
    names = [readable(concept, 24) for concept in results.concept_ids]
    heat, comparison = (
        exhibits.comparison_figures(results.comparison, confidence) if results.comparison else (None, None)
    )
    shown: dict[str, Figure | None] = {
        "accuracy": exhibits.accuracy_figure(results.accuracy, confidence) if results.accuracy else None,
        "failures": analysis_exhibits.failure_figure(
            "failures", "How completions end under each variant", results.failures, results.reference, confidence
        )
        if results.failures
        else None,
        "heat": heat,
        "comparison": comparison,
        "differences": analysis_exhibits.difference_figure(results.differences, confidence)
        if results.differences
        else None,
        "correctness": analysis_exhibits.correctness_figure(results.correctness, confidence)
        if any(row["auc"] is not None for row in results.correctness)
        else None,
        "layers": exhibits.layer_figure(results.by_layer, names, n_layers, results.lowest)
        if results.by_layer
        else None,
        "roles": analysis_exhibits.role_figure(results.roles, results.reference) if results.roles else None,
        "steps": exhibits.step_figure(results.steps) if results.steps else None,
        "edited": exhibits.intervention_figure(results.effects, confidence) if len(results.effects) > 1 else None,
        "edit_failures": analysis_exhibits.failure_figure(
            "edit_failures",
            "How completions end when neurons are edited",
            results.edit_failures,
            "the untouched model",
            confidence,
        )
        if len(results.effects) > 1 and results.edit_failures
        else None,
    }
    return dict(zip(shown, exhibits.numbered(list(shown.values())), strict=True))
