"""The notebooks under ``examples/`` run from top to bottom, and what they end a cell with can be looked at."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def _cells(notebook: Path) -> list[str]:
    found = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == "code"]


def _run(code: str, names: dict[str, Any], where: str) -> Any:
    """What a notebook would show of a cell: the value of its last line, if that is an expression."""
    parsed = ast.parse(code, where)
    last = parsed.body.pop() if isinstance(parsed.body[-1], ast.Expr) else None
    exec(compile(parsed, where, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), where, "eval"), names)  # noqa: S307


@pytest.mark.embedded
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_every_cell_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [_run(code, names, f"{notebook.name}, cell {place}") for place, code in enumerate(_cells(notebook))]
    assert sum(hasattr(value, "_repr_html_") for value in shown) >= 5


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_no_output_is_kept(notebook: Path) -> None:
    """Outputs would grow old, and hold what the author's machine said."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
