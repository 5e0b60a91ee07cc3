"""Algorithm Two, second half: which concept a neuron's tokens carry, by seed words first and then by a judge."""

from cotlens.concepts.candidates import lowest_layer, seeds_among
from cotlens.concepts.concept import Concept, load_concepts
from cotlens.concepts.stage import Unanswered, label_stage

__all__ = ["Concept", "Unanswered", "label_stage", "load_concepts", "lowest_layer", "seeds_among"]
