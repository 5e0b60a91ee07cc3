"""The report's tables of a run, read once, each file checked before."""

from __future__ import annotations

from cotlens.explorer.checked import check_inside
from cotlens.explorer.opened import OpenedRun
from cotlens.report.results import Results, read_results

__all__ = ["results_of"]

_READ = {
    "generate": "completions/",
    "project": "neurons.parquet",
    "label": "",
    "analyze": "analysis/",
    "intervene": "",
}


def results_of(opened: OpenedRun) -> Results:
    """What `read_results` gives."""

    def make() -> Results:
        for stage, prefix in _READ.items():
            opened.paths(stage, prefix)
        check_inside(opened.run.path, "judgements.jsonl")
        return read_results(opened.run)

    return opened.keep("results", make)
