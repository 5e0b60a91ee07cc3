"""The figures of a run, whatever is missing: each is there, or says why it is not."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotlens.report.all_figures import SECTIONS, all_figures
from cotlens.store import Run, open_run

ALL = [
    "accuracy", "failures", "heat", "comparison", "differences", "correctness", "layers", "roles", "steps", "effects",
    "doses", "losses", "rest", "edit_failures", "balance",
]  # fmt: skip


def test_every_figure_explains_itself_in_one_sentence_and_has_its_numbers(report: Any) -> None:
    shown = all_figures(report.run)
    assert list(shown) == ALL
    for number, (name, (figure, reason)) in enumerate(shown.items(), 1):
        assert figure is not None, reason
        assert (figure.name, figure.number) == (name, number)
        assert figure.section in SECTIONS
        assert figure.sentence.endswith(".")
        assert ". " not in figure.sentence
        assert figure.table.rows
        assert len(figure.csv.splitlines()) == 1 + len(figure.rows)


@pytest.mark.parametrize("width", [356, 860])
def test_specifications_are_valid_and_say_what_their_marks_say(report: Any, width: int) -> None:
    for name, (figure, _) in all_figures(report.run).items():
        assert figure is not None
        spec = str(figure.chart(width).to_dict())  # Altair checks it against the schema of Vega-Lite
        assert "'tooltip'" in spec, name
        assert "'tip':" in spec, name


def _copy(report: Any, folder: Path) -> Path:
    shutil.copytree(report.run.path, folder / "run")
    return folder / "run"


def _without(run: Run, *stages: str) -> Run:
    for stage in stages:
        run.manifest.stages.pop(stage, None)
    return run


def test_a_run_that_is_half_done_has_the_figures_of_its_half(report: Any) -> None:
    run = _without(open_run(report.run.path), "intervene", "report")
    shown = all_figures(run)
    assert [name for name, (figure, _) in shown.items() if figure is not None] == ALL[:9]
    assert "The stage “intervene” has not run" in shown["effects"].reason
    nothing = all_figures(_without(run, "analyze", "label", "project"))
    assert all(figure is None and reason for figure, reason in nothing.values())
    assert "label" in nothing["layers"].reason


def test_a_stage_that_goes_on_is_said_to(report: Any) -> None:
    run = open_run(report.run.path)
    record = run.manifest.stages["intervene"]
    record.status = "running"
    record.parts = {name: part for name, part in record.parts.items() if not name.startswith("analysis/")}
    assert "has not come to its end" in all_figures(run)["effects"].reason


def test_a_run_of_an_earlier_version_lacks_some_figures(report_of: Callable[..., Any]) -> None:
    shown = all_figures(report_of(effects=False).run)
    assert "made by a version of cotlens that did not write it" in shown["effects"].reason
    assert shown["accuracy"].figure is not None


def test_a_damaged_table_takes_only_its_own_figures_along(report: Any, tmp_path: Path) -> None:
    path = _copy(report, tmp_path)
    (path / "analysis/frequencies.parquet").write_bytes(b"PAR1 nothing")
    (path / "analysis/effects.parquet").unlink()
    shown = all_figures(open_run(path))
    lost = [name for name, (figure, _) in shown.items() if figure is None]
    assert lost == ["heat", "comparison", "effects", "doses", "losses", "rest", "edit_failures", "balance"]
    assert "can't be read" in shown["heat"].reason


def test_a_table_with_other_columns_is_said_to_be_unreadable(report: Any, tmp_path: Path) -> None:
    import polars as pl

    path = _copy(report, tmp_path)
    pl.DataFrame({"x": [1]}).write_parquet(path / "analysis/frequencies.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(path / "analysis/accuracy.parquet")
    shown = all_figures(open_run(path))
    assert shown["heat"].figure is None
    assert shown["accuracy"].figure is None
    assert shown["layers"].figure is not None


def test_looking_at_figures_needs_neither_torch_nor_the_page(report: Any) -> None:
    code = (
        "import sys; from cotlens.store import open_run; from cotlens.report.all_figures import all_figures; "
        f"all_figures(open_run({str(report.run.path)!r})); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'jinja2', 'altair')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
