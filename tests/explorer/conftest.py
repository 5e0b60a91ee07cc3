"""An empty cache, and runs with random activations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.explorer.activity_run import make_activity_run

from cotlens.store import Run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTLENS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes runs in folders of their own; as `make_activity_run`."""
    return lambda name="run", **more: make_activity_run(tmp_path / name, **more)
