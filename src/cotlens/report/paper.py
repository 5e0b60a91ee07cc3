"""Figures and tables as files, for a paper: the report's own charts at the width of a column.

A pixel of a chart is the same length in every file, so that its 12-pixel type is 8 points in print, whether a figure
takes one column (84 mm) or two (174 mm). Tables are all those of the analysis, with unrounded numbers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cotlens.errors import EnvironmentFault, InputError, near_match
from cotlens.files import write_atomic
from cotlens.report.all_figures import all_figures
from cotlens.report.figure import NARROW
from cotlens.report.svg import to_svg
from cotlens.store import Run

__all__ = ["COLUMN_MM", "FORMATS", "render", "write_figures"]

FORMATS = ("pdf", "svg", "png")
#: Width of a figure over so many columns of a page.
COLUMN_MM = {1: 84.0, 2: 174.0}
_PIXEL_MM = COLUMN_MM[1] / NARROW
_POINT_MM = 25.4 / 72
#: Of a PNG, in print.
_DOTS_PER_INCH = 600
_SIZE = re.compile(r'(<svg\b[^>]*?\b)width="([\d.]+)" height="([\d.]+)"')


def write_figures(run: Run, out: Path, formats: Sequence[str], columns: int = 1) -> list[Path]:
    """Write every figure that ``run`` has into ``out``, and every table into ``out/tables``.

    Args:
        run: with its analysis and interventions done.
        out: made if it is not there.
        formats: of the figures: ``pdf``, ``svg``, ``png``. Tables are written as CSV and as Parquet.
        columns: 1 or 2 of a page.

    Returns:
        The files, in the order written.

    Raises:
        InputError: an unknown format or number of columns, or a stage that has not run.
        EnvironmentFault: the folder can't be written.
    """
    for name in formats:
        if name not in FORMATS:
            hint = near_match(name, FORMATS)
            raise InputError(f"figure format {name!r} is not known{hint}; give {', '.join(FORMATS)}")
    if columns not in COLUMN_MM:
        raise InputError(f"{columns} columns: give 1 for a figure of one column, or 2")
    try:
        (out / "tables").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{out}: can't be created: {error.strerror}; name another folder with --out") from None
    written = []
    for name, (figure, _) in all_figures(run).items():
        if figure is None:
            continue
        chart = figure.chart(round(COLUMN_MM[columns] / _PIXEL_MM))
        for kind in formats:
            written.append(out / f"{name}.{kind}")
            write_atomic(written[-1], render(chart, kind, COLUMN_MM[columns]))
    for name, table in _tables(run):
        for path, data in ((f"{name}.csv", table.write_csv().encode()), (f"{name}.parquet", _parquet(table))):
            written.append(out / "tables" / path)
            write_atomic(written[-1], data)
    return written


def render(chart: Any, kind: str, most_mm: float) -> bytes:
    """A chart as a file of ``kind``, no wider than ``most_mm``."""
    import vl_convert

    chart = chart.copy()
    chart.background = "white"
    svg = to_svg(chart)
    width, height = _size(svg)
    pixel_mm = min(_PIXEL_MM, most_mm / width)
    if kind == "svg":
        return _resized(svg, f"{width * pixel_mm:.2f}mm", f"{height * pixel_mm:.2f}mm").encode()
    if kind == "pdf":  # a pixel of the SVG becomes a point of the page
        points = (f"{side * pixel_mm / _POINT_MM:.2f}" for side in (width, height))
        return bytes(vl_convert.svg_to_pdf(_resized(svg, *points)))
    # The resolution is written into the file, so that a page takes it at its true size.
    return bytes(vl_convert.svg_to_png(svg, scale=pixel_mm / _POINT_MM, ppi=_DOTS_PER_INCH))


def _size(svg: str) -> tuple[float, float]:
    found = _SIZE.search(svg)
    assert found is not None, "a chart without a size"
    return float(found[2]), float(found[3])


def _resized(svg: str, width: str, height: str) -> str:
    return _SIZE.sub(rf'\g<1>width="{width}" height="{height}"', svg, count=1)


def _tables(run: Run) -> Iterator[tuple[str, pl.DataFrame]]:
    """The tables of the analysis and of the interventions."""
    for stage in ("analyze", "intervene"):
        for path in run.part_paths(stage, "analysis/") if run.has_parts(stage, "analysis/") else ():
            yield path.stem, run.analysis(path.stem)


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
