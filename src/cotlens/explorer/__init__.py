"""The explorer: a run in the browser, and the index that makes it quick. Needs neither torch nor the model.

`app` puts the application together and `serve` runs it; `pages` and `api` are its addresses. What a page says of a run
is read by the module of its name (`overview`, `completions`, `neurons`, ...) into records, which the pages draw and the
API sends.
"""

from cotlens.explorer.index import ActivityIndex
from cotlens.explorer.index_records import Context, NeuronSummary, SharedNeurons

__all__ = ["ActivityIndex", "Context", "NeuronSummary", "SharedNeurons"]
