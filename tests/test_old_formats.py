"""Runs that earlier versions made can still be opened."""

import json
from pathlib import Path
from typing import Any

import pytest

from cotlens import RunConfig, open_run
from cotlens.config import EditConfig
from cotlens.errors import InputError
from cotlens.store import SCHEMA_VERSION, RunWriter


@pytest.fixture
def as_format_2(tmp_path: Path) -> Any:
    """Writes a manifest as format 2 had it, with these settings of the interventions."""

    def write(**intervene: object) -> Path:
        with RunWriter.open(tmp_path / "run", RunConfig()):
            pass
        file = tmp_path / "run" / "manifest.json"
        manifest = json.loads(file.read_text())
        manifest["schema_version"] = 2
        manifest["config"]["intervene"] = {"variant": "cot"} | intervene
        file.write_text(json.dumps(manifest))
        return tmp_path / "run"

    return write


def test_one_edit_of_the_reasoning_neurons_becomes_the_only_one(as_format_2: Any) -> None:
    run = open_run(as_format_2(kind="noise", dose=2.0, reasoning_draws=3, control_draws=5))
    found = run.config.intervene
    assert run.manifest.schema_version == SCHEMA_VERSION
    assert found.edits == (EditConfig(kind="noise", doses=(2.0,)),)
    assert (found.sets, found.draws, found.control_draws, found.specificity) == (("reasoning",), 3, 5, False)


def test_a_dose_that_was_ignored_is_left_out(as_format_2: Any) -> None:
    run = open_run(as_format_2(kind="zero", dose=7.0, reasoning_draws=0, control_draws=0))
    assert run.config.intervene.edits == (EditConfig(kind="zero", doses=(1.0,)),)
    assert run.config.intervene.sets == ()


def test_one_that_lacks_what_its_format_has_is_refused(as_format_2: Any) -> None:
    with pytest.raises(InputError, match="a run in format 2"):
        open_run(as_format_2(kind="noise"))
