"""Style sheets and scripts: from memory, by name, without anything from elsewhere."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from cotlens.explorer.assets import VEGA, asset, asset_names


@pytest.mark.parametrize("name", [name for name in asset_names() if name != VEGA])
def test_own_files_ask_for_nothing_elsewhere(name: str) -> None:
    found = asset(name)
    assert found is not None
    text = found.data.decode()
    assert not re.findall(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org/2000/svg", ""))
    assert "eval(" not in text
    assert "innerHTML" not in text


def test_vega_comes_as_one_script_without_requests_of_its_own(client: TestClient) -> None:
    answer = client.get(f"/static/{VEGA}")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "window.vegaEmbed" in answer.text
    assert not re.search(r"^\s*import\s", answer.text, re.MULTILINE)


def test_colours_are_the_reports_in_three_ways_to_choose() -> None:
    found = asset("theme.css")
    assert found is not None
    text = found.data.decode()
    assert text.count("--ink: #1b1f24") == 1
    assert text.count("--ink: #e6e9ed") == 2
    assert "prefers-color-scheme: dark" in text
    assert "[data-theme=dark]" in text


def test_files_are_sent_once(client: TestClient) -> None:
    first = client.get("/static/app.css")
    again = client.get("/static/app.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert client.get("/static/none.css").status_code == 404
    assert client.get("/static/__init__.py").status_code == 404
