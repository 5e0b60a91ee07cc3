"""The explorer: a finished run in the browser, and the index that makes it quick. Needs neither torch nor the model."""

from cotlens.explorer.index import ActivityIndex
from cotlens.explorer.index_records import Context, NeuronSummary, SharedNeurons

__all__ = ["ActivityIndex", "Context", "NeuronSummary", "SharedNeurons"]
