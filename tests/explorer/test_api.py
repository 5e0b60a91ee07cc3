"""The JSON: what it says is what the run holds, and nothing that is asked makes the server fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient
from tests.explorer.conftest import client_of
from tests.report.conftest import LABELLED, LAYERS, TEXT

from cotlens.explorer.app import create_app
from cotlens.explorer.security import Guard
from cotlens.store import open_run

#: What is promised of every answer, whatever was asked.
_PROMISED = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
ADDRESSES = [
    "/api/overview", "/api/completions", "/api/completions/{variant}/{question_id}",
    "/api/completions/{variant}/{question_id}/activity", "/api/completions/{variant}/{question_id}/steps/{step}",
    "/api/neurons", "/api/neurons/{name}", "/api/concepts", "/api/compare", "/api/interventions",
    "/api/interventions/{edit}/answers", "/api/figures", "/api/figures/{name}",
]  # fmt: skip


@pytest.fixture(scope="module")
def described(finished: Path) -> BaseSchema:
    # The requests come without the Host header of a browser; who is let in is tested elsewhere.
    return schemathesis.openapi.from_asgi("/api/openapi.json", create_app([finished], Guard(hosts=None)))


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_that_is_asked_makes_the_server_fail(described: BaseSchema, address: str) -> None:
    """Queries and names as the description allows them, and as it does not."""
    operation = described[address]["GET"]
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @given(case=st.one_of(modes))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        case.validate_response(case.call(), checks=_PROMISED)

    ask()


def test_every_address_is_described_and_read_only(client: TestClient) -> None:
    description = client.get("/api/openapi.json").json()
    assert {method for path in description["paths"].values() for method in path} == {"get"}
    assert sorted(description["paths"]) == sorted(ADDRESSES)


def test_completions_are_those_of_the_run(client: TestClient, finished: Path) -> None:
    frame = open_run(finished).completions()
    found = client.get("/api/completions?size=1000").json()
    assert found["page"] == {"number": 1, "size": 1000, "total": frame.height}
    assert [(row["variant"], row["question_id"], row["correct"]) for row in found["rows"]] == frame.select(
        "variant", "question_id", "correct"
    ).rows()
    wrong = client.get("/api/completions?variant=cot&correct=no&size=1").json()
    assert (wrong["page"]["total"], len(wrong["rows"]), wrong["rows"][0]["question_id"]) == (2, 1, "q2")
    assert client.get("/api/completions?text=SUM has").json()["page"]["total"] == frame.height
    assert client.get("/api/completions?text=nowhere").json()["page"]["total"] == 0


def test_a_step_has_the_neurons_of_the_run_in_their_order(client: TestClient, finished: Path) -> None:
    rows = open_run(finished).activations().filter(variant="cot", question_id="q1", step=3).sort("layer")
    layers = client.get("/api/completions/cot/q1/steps/3").json()["layers"]
    assert [[cell["neuron"] for cell in cells] for cells in layers] == rows["neuron"].to_list()
    assert [[cell["coefficient"] for cell in cells] for cells in layers] == rows["coefficient"].to_list()
    assert [cell["rank"] for cell in layers[0]] == [0, 1]
    # With the sign of its coefficient a neuron promotes one end, and suppresses the other.
    up, down = layers[0]
    assert up["tokens"][0] == "The"
    assert down["tokens"][0] == "␣odd"


def test_concepts_are_counted_with_the_sign_of_their_label(client: TestClient, finished: Path) -> None:
    activations = open_run(finished).activations().filter(variant="cot", question_id="q0").sort("step", "layer")
    expected = {concept: [0] * len(TEXT) for *_, concept in LABELLED}
    for row in activations.iter_rows(named=True):
        for neuron, coefficient in zip(row["neuron"], row["coefficient"], strict=True):
            for layer, member, sign, concept in LABELLED:
                if (layer, member) == (row["layer"], neuron) and coefficient * sign > 0:
                    expected[concept][row["step"]] += 1
    found = client.get("/api/completions/cot/q0/activity").json()
    assert found["concepts"] == expected
    assert (found["steps"], found["layers"], found["ranks"]) == (len(TEXT), LAYERS, 2)


def test_a_neuron_is_that_of_the_run(client: TestClient, finished: Path) -> None:
    found = client.get("/api/neurons/L2N3").json()
    row = open_run(finished).neurons().filter(layer=2, neuron=3).row(0, named=True)
    assert [token["text"] for token in found["promoted"]] == row["promoted"]
    assert found["positive"] == ["add", "equals"]
    assert {(label["concept"], label["verdict"]) for label in found["labels"]} == {("add", True), ("equals", True)}
    entries = open_run(finished).activations().filter(layer=2).explode("neuron", "coefficient").filter(neuron=3)
    positive = entries.filter(entries["coefficient"] > 0).height
    assert (found["active"]["positive"], found["active"]["negative"]) == (positive, entries.height - positive)
    assert sum(found["active"]["counts"]) == entries.height
    assert sum(row["positive"] for row in found["active"]["roles"]) == positive
    first = found["contexts"][0]
    assert first["score"] == 3.0
    assert first["token"] == TEXT[first["step"]].replace(" ", "␣").replace("\n", "↵")


def test_equations_are_marked_right_or_wrong(client: TestClient) -> None:
    found = client.get("/api/completions/cot/q0").json()
    assert found["equations"] == [{"expression": "4 + 9", "stated": "13", "value": "13", "holds": True}]
    inside = [token["shown"] for token in found["tokens"] if token["equation"] == 0]
    assert "".join(inside).replace("␣", "") in ("4+9=13", "")  # tokens of this run have no places in the text


@pytest.mark.parametrize(
    "address",
    ["/api/neurons/L9N9", "/api/neurons/x", "/api/completions/cot/none", "/api/figures/none", "/api/nothing",
     "/api/completions/cot/q0/steps/99", "/api/compare?a=cot&b=none", "/api/compare?a=cot&b=cot&run=other"],
)  # fmt: skip
def test_what_is_not_there_is_said_as_json(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert list(answer.json()) == ["detail"]


def test_another_run_is_compared_and_has_pages_of_its_own(finished: Path, copied: Path) -> None:
    client = client_of(finished, copied)
    found = client.get("/api/compare?a=cot&b=text_only&run=other").json()
    assert (found["a"]["variant"], found["b"]["variant"]) == ("cot", "text_only")
    assert found["accuracy"]["difference"] == 0
    assert found["neurons"]["shared"] > 0
    assert client.get("/other/completion/cot/q0").status_code == 200
    assert client.get("/other/api/overview").json()["folder"] == "run"
    page = client.get("/compare?run=other&a=cot&b=cot")
    assert page.status_code == 200
    assert "/figures/compare-frequencies.json?of=cot&amp;to=cot&amp;run=other" in page.text
