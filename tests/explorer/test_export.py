"""A run as a folder of files: all links lead to files, nothing needs a server that thinks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.explorer.conftest import HOSTILE, Parsed

from cotlens.errors import InputError
from cotlens.explorer.export import export
from cotlens.types import Silent


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "site"
    export([finished], out, 2, Silent())
    return out


def test_it_holds_the_pages_that_were_asked_for(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.html")}
    assert names == {
        "index.html", "completions.html", "neurons.html", "concepts.html", "interventions.html",
        "compare-cot-text_only.html", "completion/cot-q0.html", "completion/cot-q1.html",
        "completion/text_only-q0.html", "completion/text_only-q1.html",
        "neuron/L1N0.html", "neuron/L2N3.html", "neuron/L3N5.html",
    }  # fmt: skip


def test_every_link_script_style_and_chart_leads_to_a_file(folder: Path) -> None:
    for page in folder.rglob("*.html"):
        parsed = Parsed(page.read_text(encoding="utf-8"))
        for tag, attrs in parsed.elements:
            for name, value in attrs.items():
                if name in ("href", "src", "srcset") or name.startswith("data-at-") or name == "data-activity":
                    if tag in ("form",) or not value or value.startswith("#"):
                        continue
                    assert not re.match(r"[a-z]+:|/", value), (page, value)
                    target = page.parent / unquote(re.split(r"[?#]", value)[0])
                    assert target.is_file(), (page, value)


def test_each_step_has_its_file_with_the_neurons_of_the_run(folder: Path) -> None:
    activity = json.loads((folder / "completion/cot-q0/activity.json").read_text())
    steps = sorted((folder / "completion/cot-q0/steps").iterdir())
    assert len(steps) == activity["steps"] == 15
    layers = json.loads((folder / "completion/cot-q0/steps/0.json").read_text())["layers"]
    assert [cell["neuron"] for cell in layers[1]] == [0, 3]
    assert layers[1][0]["concepts"] == ["add"]
    assert len(layers[1][0]["tokens"]) > len(layers[1][1]["tokens"]) == 3


def test_pages_forbid_scripts_of_their_own(folder: Path) -> None:
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "script-src 'self'; style-src 'self'" in text
        assert all("style" not in attrs for _, attrs in Parsed(text).elements)
        # The choice of a concept is the script's; whatever else a form asks, nobody would answer.
        forms = [attrs for tag, attrs in Parsed(text).elements if tag == "form"]
        assert all("data-concepts" in attrs or attrs.get("method") == "dialog" for attrs in forms)


def test_an_export_never_overwrites(folder: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds something"):
        export([finished], folder, 2, Silent())
    assert not list(folder.parent.glob(".site*"))


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are not drawn, which takes most of the time."""
    for name in ("figure_svg", "figure_png"):
        monkeypatch.setattr(f"cotlens.explorer.export.{name}", lambda figure, width: b"")


@pytest.mark.usefixtures("without_pictures")
def test_odd_names_make_harmless_files(run_of: Callable[..., Path], tmp_path: Path) -> None:
    run = run_of(variants=("cot", "file:/home/../me/my prompt.txt"), concept=HOSTILE)
    export([run], tmp_path / "site", 1, Silent())
    files = [
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*") if path.is_file()
    ]
    assert all(re.fullmatch(r"[\w./-]+", name) for name in files)
    assert any(name.startswith("completion/file_") for name in files)


@pytest.mark.usefixtures("without_pictures")
def test_a_half_finished_run_is_exported_as_far_as_it_goes(copied: Path, tmp_path: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["stages"] = {"generate": manifest["stages"]["generate"]}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    export([copied], tmp_path / "site", 1, Silent())
    assert "has not run" in (tmp_path / "site/neurons.html").read_text()
    assert "Ann has 4 pens" in (tmp_path / "site/completion/cot-q0.html").read_text()
