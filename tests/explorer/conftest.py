"""An empty cache, small runs, and a client that asks the explorer as a browser on this machine would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient
from tests.explorer.activity_run import make_activity_run
from tests.report.conftest import Content
from tests.report.conftest import make_run as make_whole_run

from cotlens.explorer.app import create_app
from cotlens.explorer.attempt import attempt
from cotlens.explorer.opened import RunFolder
from cotlens.explorer.security import Guard
from cotlens.store import Run, RunWriter, open_run

#: Addresses of every kind of page; the neuron is labelled, and active in the completion.
PAGES = (
    "/", "/completions", "/completion/cot/q0", "/completion/cot/q0?beside=text_only&concept=add&step=3", "/neurons",
    "/neurons?token=sum", "/neuron/L1N0", "/concepts", "/compare", "/compare?a=cot&b=text_only&shown=both",
    "/interventions", "/api",
)  # fmt: skip
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(1)">‮\x00\x1b[31m" onmouseover="alert(1)'


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self, start: str = "") -> list[str]:
        found = [attrs.get("href") or "" for tag, attrs in self.elements if tag == "a"]
        return [href for href in found if href.startswith(start)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTLENS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes runs with random activations in folders of their own; as `make_activity_run`."""
    return lambda name="run", **more: make_activity_run(tmp_path / name, **more)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; nobody may change it."""
    return make_whole_run(tmp_path_factory.mktemp("finished") / "run", Content()).path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a run with some content."""

    def make(**content: object) -> Path:
        return make_whole_run(tmp_path_factory.mktemp("made") / "run", Content(**content)).path  # type: ignore[arg-type]

    return make


def record_more(path: Path) -> Path:
    """Give a finished run what is recorded only if asked for.

    After layer n the token n is the most probable, with n + 1 tenths; neuron L1N0 is like L2N3 and against L3N5.
    """
    run = RunWriter(path, open_run(path).manifest)
    for part in ("0", "1"):
        rows = pl.read_parquet(path / f"activations/{part}.parquet").select("variant", "question_id", "step", "layer")
        first = pl.concat_list(pl.col("layer"), pl.lit(77777, pl.Int32))
        shares = pl.concat_list((pl.col("layer") + 1).cast(pl.Float32) / 10, pl.lit(0.05, pl.Float32))
        run.add_frame("discover", f"lens/{part}.parquet", rows.with_columns(token_ids=first, probabilities=shares))
    similar = pl.DataFrame(
        {"layer": [1], "neuron": [0], "similar_layer": [[2, 3]], "similar_neuron": [[3, 5]], "cosine": [[0.9, -0.4]]},
        schema_overrides={"layer": pl.Int32, "neuron": pl.Int32},
    )
    run.begin("similar", "similar")
    run.add_frame("similar", "similar.parquet", similar)
    run.finish("similar", 1.0)
    return path


def client_of(*paths: Path, guard: Guard | None = None) -> TestClient:
    """A client of the explorer of these runs, whose activations are indexed already."""
    folders = [RunFolder(path) for path in paths]
    for folder in folders:
        attempt(lambda at=folder: at.now().index(patience_s=120))
    return TestClient(create_app(folders, guard), base_url="http://127.0.0.1:8642", follow_redirects=False)


@pytest.fixture(scope="session")
def client(finished: Path) -> TestClient:
    return client_of(finished)
