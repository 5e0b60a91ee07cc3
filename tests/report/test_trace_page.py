"""A trace as a page: complete, alone, and safe whatever the tokens are."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from cotlens.report.trace_page import render_trace

HOSTILE = (
    "</script><img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "</code></td></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}", "\x1b[31mred\x07", "a\x00b\u202edcba\ufeff\ud800", "<!-- --><![CDATA[", "&lt;b&gt;", "<b>" * 33_000,
)  # fmt: skip


def _trace(tokens: list[str], model: str = "tiny", lens: bool = True) -> dict[str, Any]:
    neuron = {"neuron": "L1N2", "coefficient": -1.5, "push": "down", "effect": -0.25, "promotes": tokens[:3]}
    steps = [
        {"read": read, "next": comes, "next_probability": 0.9 - 0.1 * place, "predicted": tokens[0]}
        | {"predicted_probability": 0.95, "neurons": [neuron, neuron | {"push": "up", "effect": 0.5}]}
        | ({"lens": [{"token": comes, "probability": 0.7, "next_probability": 0.7}] * 2} if lens else {})
        for place, (read, comes) in enumerate(pairwise(tokens))
    ]
    return {"model": model, "text": "".join(tokens), "steps": steps}


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[tuple[str, tuple[str, ...]]] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, tuple(sorted(name for name, _ in attrs))))
        self.links += [name for name, _ in attrs if name in ("src", "href", "action") or name.startswith("on")]


def test_every_token_has_its_neurons_with_sign_and_effect() -> None:
    page = render_trace(_trace(["5", " *", " 4"]))
    assert page.count('<label class="token">') == 2
    panel = page.split('id="p1"')[1]
    assert re.findall(r'class="id">([^<]+)<', panel)[:2] == ["L1N2", "L1N2"]
    assert "↓ less likely" in panel
    assert "↑ likelier" in panel
    assert ">−0.25<" in panel
    assert ">−1.50<" in panel
    assert "<code>5</code><code>␣*</code><code>␣4</code>" in panel
    assert re.findall(r'id="t(\d+)" checked', page) == ["1"]  # the least expected token


def test_the_lens_is_a_line_per_layer_framed_where_it_is_right() -> None:
    page = render_trace(_trace(["5", " *", " 4"]))
    assert re.findall(r'<th scope="row">(layer \d)</th>', page) == ["layer 1", "layer 0"]
    assert page.count('class="sure p3 comes"') == 4
    assert "Logit lens" not in render_trace(_trace(["5", " *"], lens=False))


def test_the_page_is_alone() -> None:
    page = render_trace(_trace(["5", " *", " 4"]))
    assert _Page(page).links == []
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|@import|url\(", page)


def test_hostile_tokens_stay_texts() -> None:
    page = render_trace(_trace([*HOSTILE], model=HOSTILE[0]))
    plain = render_trace(_trace([str(place) for place in range(len(HOSTILE))]))
    assert _Page(page).elements == _Page(plain).elements
    assert "&lt;/script&gt;&lt;img" in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufeff\ud800-\udfff]", page)
    assert len(page) < 200_000
    page.encode("utf-8")
