"""Figures as files: the size of a column, whole, and beside them every table."""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cotlens.errors import InputError
from cotlens.report.paper import COLUMN_MM, write_figures

MM_PER_POINT = 25.4 / 72
FIGURES = {
    "accuracy", "failures", "heat", "comparison", "differences", "correctness", "layers", "roles", "steps", "effects",
    "doses", "losses", "rest", "edit_failures", "balance",
}  # fmt: skip


@pytest.fixture(scope="module")
def written(report: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("paper") / "figures"
    return {path.name: path for path in write_figures(report.run, out, ("svg", "pdf", "png"))}


def test_every_figure_is_written_in_every_format(written: dict[str, Path]) -> None:
    names = {path.name for path in written.values() if path.parent.name == "figures"}
    assert names == {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf", "png")}
    assert all(path.stat().st_size > 1000 for path in written.values() if path.parent.name == "figures")


def _width_mm(path: Path) -> float:
    if path.suffix == ".svg":
        return float(re.findall(r'<svg[^>]* width="([\d.]+)mm"', path.read_text())[0])
    if path.suffix == ".pdf":
        [box] = re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) [\d.]+\]", path.read_bytes())
        return float(box) * MM_PER_POINT
    width, _ = struct.unpack(">II", path.read_bytes()[16:24])
    return int(width) / 600 * 25.4


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_fits_one_column_alike_in_every_format(written: dict[str, Path], name: str) -> None:
    widths = [_width_mm(written[f"{name}.{kind}"]) for kind in ("svg", "pdf", "png")]
    assert max(widths) - min(widths) < 0.2
    assert 60 < widths[0] <= COLUMN_MM[1] + 0.1


def test_two_columns_are_wider_with_type_of_the_same_size(
    report: Any, written: dict[str, Path], tmp_path: Path
) -> None:
    wide = {path.name: path for path in write_figures(report.run, tmp_path, ("svg",), columns=2)}
    assert COLUMN_MM[1] < _width_mm(wide["accuracy.svg"]) <= COLUMN_MM[2] + 0.1

    def type_mm(path: Path) -> float:
        text = path.read_text()
        units = float(re.findall(r'viewBox="0 0 ([\d.]+)', text)[0])
        return max(map(float, re.findall(r'font-size="([\d.]+)px"', text))) * _width_mm(path) / units

    assert type_mm(wide["accuracy.svg"]) == pytest.approx(type_mm(written["accuracy.svg"]), rel=0.01)
    assert type_mm(wide["accuracy.svg"]) / MM_PER_POINT == pytest.approx(8, abs=0.1)


def test_tables_are_those_of_the_analysis_as_csv_and_parquet(report: Any, written: dict[str, Path]) -> None:
    for name in ("accuracy", "frequencies", "roles", "layers", "comparisons", "failures", "failure_shares"):
        own = report.run.analysis(name)
        assert pl.read_parquet(written[f"{name}.parquet"]).equals(own)
        csv = pl.read_csv(io.BytesIO(written[f"{name}.csv"].read_bytes()), infer_schema_length=None)
        assert csv.columns == own.columns
        assert csv.height == own.height
    assert "edit_failure_shares.csv" in written


def test_the_same_run_gives_the_same_figures(report: Any, written: dict[str, Path], tmp_path: Path) -> None:
    again = {path.name: path for path in write_figures(report.run, tmp_path, ("png",))}
    assert again["heat.png"].read_bytes() == written["heat.png"].read_bytes()


def test_an_unknown_format_or_number_of_columns_is_refused(report: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'pfd' is not known.*pdf"):
        write_figures(report.run, tmp_path, ("pfd",))
    with pytest.raises(InputError, match="3 columns"):
        write_figures(report.run, tmp_path, ("pdf",), columns=3)
    assert not list(tmp_path.iterdir())


def test_figures_that_a_run_has_nothing_for_are_left_out(report_of: Callable[..., Any], tmp_path: Path) -> None:
    bare = report_of(labelled=False, stored_tokens=False)
    names = {path.stem for path in write_figures(bare.run, tmp_path, ("svg",)) if path.suffix == ".svg"}
    assert names == {"accuracy", "failures"}
