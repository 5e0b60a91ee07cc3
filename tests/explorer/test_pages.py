"""Every page says what the run holds, as plain HTML that works without a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.explorer.conftest import HOSTILE, PAGES, Parsed, client_of
from tests.report.conftest import TEXT


@pytest.mark.parametrize("address", PAGES)
def test_pages_are_whole(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Parsed(answer.text)
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert "can’t be shown" not in answer.text
    assert all("style" not in attrs and not any(name.startswith("on") for name in attrs) for _, attrs in page.elements)
    scripts = [attrs.get("src") for tag, attrs in page.elements if tag == "script"]
    assert scripts == ["/static/theme.js", "/static/main.js"]


@pytest.mark.parametrize("address", PAGES)
def test_links_lead_somewhere(client: TestClient, address: str) -> None:
    page = Parsed(client.get(address).text)
    for href in {link.partition("#")[0] for link in page.links("/")}:
        if not href.startswith("/figures/"):
            assert client.get(href).status_code in (200, 303), href


def test_the_overview_shows_stages_figures_and_settings(client: TestClient) -> None:
    page = Parsed(client.get("/").text)
    assert "Accuracy ranged from" in page.text or "Accuracy was 50.0% under every variant" in page.text
    names = [attrs["id"] for tag, attrs in page.elements if tag == "figure"]
    assert names[:4] == ["figure-accuracy", "figure-failures", "figure-heat", "figure-comparison"]
    assert "figure-effects" in names
    classes = [attrs.get("class") for tag, attrs in page.elements if tag == "li"]
    assert classes.count("done") == 6
    assert classes.count("running") == 1  # the report is begun and not written


def test_a_completion_shows_its_tokens_roles_and_equations(client: TestClient) -> None:
    page = Parsed(client.get("/completion/cot/q0?concept=add&step=4").text)
    tokens = [attrs for tag, attrs in page.elements if tag == "a" and "token" in (attrs.get("class") or "").split()]
    assert len(tokens) == len(TEXT)
    assert [attrs["data-step"] for attrs in tokens if attrs.get("aria-current")] == ["4"]
    assert "step 4, operator; " in (tokens[4]["title"] or "")
    # Neuron 0 of layer 1 carries add; it is active, positively, at steps 0 and 8, with neuron 3 of layer 2 at step 3.
    active = [place for place, attrs in enumerate(tokens) if "h5" in (attrs.get("class") or "")]
    assert active == [0, 3, 8, 11]


def test_the_grid_has_a_row_for_every_layer_and_marks_signs(client: TestClient) -> None:
    page = Parsed(client.get("/completion/cot/q0?step=0").text)
    cells = [attrs.get("class") or "" for tag, attrs in page.elements if tag == "td"]
    up = [name for name in cells if name.startswith("up s")]
    down = [name for name in cells if name.startswith("down s")]
    assert (len(up), len(down)) == (4, 4)
    assert sum("on" in name.split() for name in up) == 1  # L1N0 carries add
    assert "/neuron/L1N0" in page.links()


def test_two_variants_stand_side_by_side(client: TestClient) -> None:
    page = Parsed(client.get("/completion/cot/q0?beside=text_only").text)
    walks = [attrs for tag, attrs in page.elements if tag == "section" and "data-walk" in attrs]
    assert [attrs["aria-label"] for attrs in walks] == ["cot", "text_only"]
    missing = client.get("/completion/cot/q0?beside=nothing")
    assert missing.status_code == 200
    assert "The other variant can’t be shown" in missing.text


def test_a_neuron_shows_tokens_labels_activity_and_contexts(client: TestClient) -> None:
    page = Parsed(client.get("/neuron/L2N3").text)
    assert "add with a positive coefficient" in " ".join(page.text.split())
    assert "5 of 20 tokens are words of 'add': sum" in page.text
    names = [attrs["id"] for tag, attrs in page.elements if tag == "figure"]
    assert names == [
        "figure-neuron-coefficients", "figure-neuron-variants", "figure-neuron-roles", "figure-neuron-steps",
    ]  # fmt: skip
    assert page.links("/completion/")
    assert page.links("/neuron/L2N") == ["/neuron/L2N2", "/neuron/L2N4"]


def test_bars_have_the_width_of_their_logits_on_one_scale(client: TestClient) -> None:
    page = Parsed(client.get("/neuron/L2N3").text)
    widths = [attrs["width"] for tag, attrs in page.elements if tag == "rect"]
    assert widths[:7] == ["100.0%", "87.5%", "75.0%", "62.5%", "50.0%", "37.5%", "25.0%"]
    assert widths[7:] == ["50.0%", "37.5%", "25.0%", "25.0%", "12.5%"]


def test_edits_are_called_as_their_sets_are(client: TestClient) -> None:
    page = Parsed(client.get("/interventions").text)
    assert "reasoning, noise 0.5 (2 draws)" in page.text
    assert "random neurons matched to reasoning, noise 0.5 (3 draws)" in page.text


def test_a_search_for_a_name_leads_to_the_neuron(client: TestClient) -> None:
    answer = client.get("/neurons?token=l2n3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/neuron/L2N3")


@pytest.mark.parametrize(
    "address",
    [
        "/neuron/L9N1",
        "/neuron/L1N8",
        "/neuron/nothing",
        "/completion/cot/none",
        "/completion/none/q0",
        "/nothing",
        "/report",
    ],
)
def test_what_is_not_there_says_so(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert Parsed(answer.text).links("/")


def test_a_value_that_does_not_fit_says_so(client: TestClient) -> None:
    answer = client.get("/completions?page=0")
    assert answer.status_code == 422
    assert "greater than or equal to 1" in answer.text


@pytest.mark.parametrize("address", PAGES)
def test_hostile_texts_are_shown_as_text(run_of: Callable[..., Path], client: TestClient, address: str) -> None:
    """Tokens, questions, judge's words, the model's name and a concept can't make elements or attributes."""
    hostile = _hostile(run_of)
    asked = address.replace("token=sum", "token=onerror&match=contains")
    answer = hostile.get(asked)
    assert answer.status_code == 200
    page, plain = Parsed(answer.text), Parsed(client.get(address).text)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | _SOMETIMES
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "‮" not in answer.text
    assert "\x00" not in answer.text
    assert "\x1b" not in answer.text


#: Elements that a page has depending on its rows.
_SOMETIMES = {"em", "mark", "details", "summary", "ul", "li", "br", "abbr", "code", "i", "p", "b"}
_made: list[TestClient] = []


def _hostile(run_of: Callable[..., Path]) -> TestClient:
    if not _made:
        tokens = [*TEXT[:3], HOSTILE, *TEXT[4:]]
        text = {"question": HOSTILE, "strange": HOSTILE, "reason": HOSTILE, "concept": HOSTILE, "model": "tiny<b>"}
        _made.append(client_of(run_of(tokens=tokens, **text)))
    return _made[0]


def test_a_users_own_prompt_has_an_address_too(run_of: Callable[..., Path]) -> None:
    client = client_of(run_of(variants=("cot", "file:/home/me/my prompt.txt")))
    links = Parsed(client.get("/completions?variant=file:/home/me/my prompt.txt").text).links("/completion/file")
    assert links
    answer = client.get(links[0])
    assert answer.status_code == 200
    assert "file:my prompt.txt" in answer.text
