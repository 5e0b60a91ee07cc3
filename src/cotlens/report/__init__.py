"""One self-contained HTML file about a run: figures, words and tables, without a script or a request."""

from cotlens.report.stage import report_stage

__all__ = ["report_stage"]
