"""What a run records only if asked to: the logit lens of each step, and similar neurons."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.explorer.conftest import Parsed, client_of, record_more
from tests.report.conftest import LAYERS, TEXT


@pytest.fixture
def recorded(copied: Path) -> Path:
    return record_more(copied)


def test_the_lens_of_a_step_stands_beneath_its_grid(recorded: Path) -> None:
    client = client_of(recorded)
    lens = client.get("/api/completions/cot/q1/steps/2").json()["lens"]
    assert len(lens) == LAYERS
    assert lens[1] == [
        {"shown": TEXT[1].replace(" ", "␣"), "percent": 20.0, "shade": 1},
        {"shown": "‹77777›", "percent": 5.0, "shade": 0},
    ]
    page = Parsed(client.get("/completion/cot/q1?step=2").text)
    assert any("data-lens" in attrs for _, attrs in page.elements)
    assert "Logit lens" in page.text


def test_without_a_lens_there_is_no_table(finished: Path) -> None:
    client = client_of(finished)
    assert client.get("/api/completions/cot/q1/steps/2").json()["lens"] == []
    assert "Logit lens" not in client.get("/completion/cot/q1").text


def test_similar_neurons_are_listed_with_their_cosines(recorded: Path, finished: Path) -> None:
    found = client_of(recorded).get("/api/neurons/L1N0").json()["similar"]
    assert [(row["layer"], row["neuron"], row["cosine"]) for row in found] == [(2, 3, 0.9), (3, 5, -0.4)]
    page = Parsed(client_of(recorded).get("/neuron/L1N0").text)
    assert {"/neuron/L2N3", "/neuron/L3N5"} <= set(page.links())
    assert client_of(finished).get("/api/neurons/L1N0").json()["similar"] == []
