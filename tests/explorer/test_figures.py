"""Charts at every address: as a specification, as pictures and as numbers."""

from __future__ import annotations

import csv
import io
import json

import pytest
from starlette.testclient import TestClient

FIGURES = (
    "accuracy", "heat", "layers", "effects", "neuron-coefficients?of=L1N0", "neuron-variants?of=L1N0",
    "neuron-roles?of=L1N0", "neuron-steps?of=L1N0", "compare-accuracy?of=cot&to=text_only",
    "compare-frequencies?of=cot&to=text_only",
)  # fmt: skip


def address(figure: str, kind: str, **query: object) -> str:
    name, _, given = figure.partition("?")
    more = "&".join([given, *(f"{key}={value}" for key, value in query.items())]).strip("&")
    return f"/figures/{name}.{kind}?{more}"


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_explains_itself_in_every_form(client: TestClient, figure: str) -> None:
    record = client.get(address(figure, "json")).json()
    assert record["sentence"].endswith(".")
    assert record["title"]
    assert record["table"]["rows"]
    text = json.dumps(record["spec"])
    assert '"tooltip"' in text or '"description"' in text
    assert '"title"' in text
    rows = list(csv.reader(io.StringIO(client.get(address(figure, "csv")).text)))
    assert len(rows) == 1 + len(record["table"]["rows"])
    svg = client.get(address(figure, "svg"))
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert svg.text.startswith("<svg")
    assert "<script" not in svg.text


def test_pictures_come_in_the_width_asked_for(client: TestClient) -> None:
    narrow, wide = (client.get(address("accuracy", "json", width=width)).json() for width in (356, 860))
    assert narrow["spec"]["width"] < wide["spec"]["width"]
    assert client.get(address("accuracy", "png")).content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("asked", "status"),
    [("accuracy.json?width=5000", 422), ("none.svg", 404), ("neuron-steps.json?of=x", 404), ("balance.gif", 404)],
)
def test_what_can_not_be_drawn_is_said(client: TestClient, asked: str, status: int) -> None:
    assert client.get(f"/figures/{asked}").status_code == status
