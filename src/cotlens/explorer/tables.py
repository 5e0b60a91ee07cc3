"""The report's tables and figures of a run, each read when first asked for and then kept."""

from __future__ import annotations

from cotlens.explorer.opened import OpenedRun
from cotlens.report.all_figures import figures_of
from cotlens.report.figure import Shown
from cotlens.report.results import Results

__all__ = ["figures_in", "results_of"]


def results_of(opened: OpenedRun) -> Results:
    """The rows behind the report's figures."""
    return opened.keep("results", lambda: Results(opened.run))


def figures_in(opened: OpenedRun) -> dict[str, Shown]:
    """The report's figures by name: each with a reason where the run has none."""
    return opened.keep("figures", lambda: figures_of(results_of(opened)))
