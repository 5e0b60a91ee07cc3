"""What takes seconds once is done while the reader looks at the first page."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.explorer.assets import VEGA, asset
from cotlens.explorer.attempt import attempt
from cotlens.explorer.completions import with_failures
from cotlens.explorer.neuron_table import neuron_table
from cotlens.explorer.opened import OpenedRun, RunFolder
from cotlens.explorer.postings import ENDS, postings
from cotlens.explorer.tables import figures_in

__all__ = ["warm_up"]


def warm_up(folders: Sequence[RunFolder]) -> None:
    """Read the tables and load the libraries that pages need; what can't be read is told by its page."""
    attempt(lambda: asset(VEGA))
    for folder in folders:
        opened = attempt(folder.now).value
        if opened is not None:
            _read(opened)


def _read(opened: OpenedRun) -> None:
    attempt(lambda: with_failures(opened))
    attempt(lambda: neuron_table(opened))
    attempt(lambda: figures_in(opened)["accuracy"].figure.chart(860).to_dict())  # type: ignore[union-attr]
    for end in ENDS:
        attempt(lambda end=end: postings(opened, end))  # type: ignore[misc]
