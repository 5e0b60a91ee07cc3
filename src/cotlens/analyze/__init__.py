"""What a run shows: accuracy, activity, comparisons, failures, and the interventions against their controls."""

from cotlens.analyze.accuracy import accuracy_by_variant
from cotlens.analyze.stage import analyze_stage
from cotlens.analyze.statistics import wilson

__all__ = ["accuracy_by_variant", "analyze_stage", "wilson"]
