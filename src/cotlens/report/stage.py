"""The last stage: ``report.html``."""

from __future__ import annotations

from cotlens.store import RunWriter
from cotlens.types import Progress

__all__ = ["report_stage"]


def report_stage(run: RunWriter, progress: Progress) -> None:
    """Write ``report.html``, which holds everything it shows. The same run gives the same bytes."""
    progress.begin("report", 1)
    from cotlens.report.page import render

    # What `readable` and `visible` leave can be encoded; the error handler is for a stray surrogate all the same.
    run.add_bytes("report", "report.html", render(run).encode("utf-8", "backslashreplace"))
    progress.advance(1)
