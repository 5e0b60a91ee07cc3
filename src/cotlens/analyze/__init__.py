"""What a run shows: accuracy, activity, comparisons, failures, and the interventions against their controls."""

from cotlens.analyze.accuracy import accuracy_by_variant
from cotlens.analyze.effects import Effect, intervention_effects, main_edit
from cotlens.analyze.stage import analyze_stage
from cotlens.analyze.statistics import wilson

__all__ = ["Effect", "accuracy_by_variant", "analyze_stage", "intervention_effects", "main_edit", "wilson"]
