"""What objects show in a notebook: the numbers, and nothing that could act."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.labelled_run import make_projected_run

from cotlens import open_run
from cotlens.inspect import NeuronTokens, Trace
from cotlens.notebook import Html, card, chips, preformatted, table
from cotlens.types import Completion, Projection, TopNeurons

EVIL = "</td><img src=x onerror=alert(1)>\" onmouseover='alert(2)' {{ 7*7 }}\x1b[31m\u202e\x00&lt;"


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[tuple[str, tuple[str, ...]]] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _shown(thing: Any) -> _Page:
    """What it shows; it must be styled where it stands, take its colours from the page, and hold nothing that acts."""
    page = thing._repr_html_()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", page)
    assert not re.search(r"(?<!-)color:(?!inherit)|background:(?!none|rgba\(128,128,128)", page)
    found = _Page(page)
    assert {tag for tag, _ in found.elements} <= {
        "div",
        "b",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "pre",
        "br",
    }
    assert {name for _, names in found.elements for name in names} <= {"style"}
    return found


def _top(steps: int = 2, tokens: tuple[str, ...] = ()) -> TopNeurons:
    neuron = np.arange(steps * 2 * 3, dtype=np.int32).reshape(steps, 2, 3)
    return TopNeurons(neuron, neuron.astype(np.float32) - 2, neuron.astype(np.float32), tokens)


def _projection(texts: dict[int, str], neurons: int = 1) -> Projection:
    places = np.arange(neurons, dtype=np.int32)
    ids = np.tile(np.array([[7, 8]], dtype=np.int32), (neurons, 1))
    logits = np.tile(np.array([[2.5, 1.0]], dtype=np.float32), (neurons, 1))
    return Projection(places, places + 5, ids, logits, logits / 10, ids, -logits, "none", texts)


def test_a_completion_shows_its_text_and_how_it_ended() -> None:
    text = _shown(Completion((1, 2), (3, 4, 5), "The sum is 4.\nSo.", "stop")).text
    assert "3 tokens after a prompt of 2, ended by the stop text" in text
    assert "The sum is 4.\nSo." in text


def test_top_neurons_show_the_strongest_of_all_layers_with_their_signs() -> None:
    text = _shown(_top(tokens=(" plus", "4"))).text
    assert "2 steps of 2 layers, 3 neurons each" in text
    assert "␣plus" in text
    assert text.index("L1N5 +3.00") < text.index("L1N4 +2.00") < text.index("L0N2 +0.00")
    assert "L1N3 +1.00" in text
    assert "L0N0" not in text  # the fifth and sixth by score
    assert "and 8 more steps" in _shown(_top(20)).text


def test_a_projection_shows_tokens_of_both_ends_and_ids_where_texts_are_not_known() -> None:
    text = _shown(_projection({7: " sum"})).text
    assert "L0N5" in text
    assert "+2.50" in text
    assert "-2.50" in text
    assert text.count("␣sum") == 2
    assert text.count("<8>") == 2
    assert "and 38 more neurons" in _shown(_projection({}, 50)).text


def test_a_neuron_and_a_trace_are_dicts_that_show_themselves() -> None:
    ends = {"promoted": [{"token": " plus", "id": 1, "logit": 2.0, "probability": 0.1}]}
    ends |= {"suppressed": [{"token": " minus", "id": 2, "logit": -2.0}]}
    neuron = NeuronTokens(model="tiny", neuron="L1N2", value_norm=1.5, longer_than=0.9, norm="none", **ends)
    assert json.loads(json.dumps(neuron)) == neuron
    assert "longer than 90% of its layer’s" in _shown(neuron).text
    step = {"read": "4", "next": " =", "next_probability": 0.5, "predicted": ".", "predicted_probability": 0.4}
    step |= {"neurons": [{"neuron": "L1N2", "coefficient": -1.5, "push": "down", "effect": -1, "promotes": ["x"]}]}
    assert "↓ L1N2 -1.50" in _shown(Trace(model="tiny", text="4 =", steps=[step])).text
    assert "and 2 more tokens" in _shown(Trace(model="tiny", text="", steps=[step] * 42)).text


def test_a_run_shows_what_there_is_and_how_it_is_read(tmp_path: Path) -> None:
    run = open_run(make_projected_run(tmp_path / "run").path)
    text = _shown(run).text
    assert "tiny on mini, 1 prompt variant" in text
    assert "Done: generate, discover, project." in text
    assert "run.completions()" in text
    assert "run.concepts()" not in text
    run.manifest.stages["analyze"] = run.manifest.stages["project"].model_copy(
        update={"status": "running", "parts": {}}
    )
    assert "Not finished: analyze." in _shown(run).text
    assert "No accuracy: " in _shown(run).text


@pytest.mark.parametrize(
    "thing",
    [
        Completion((1,), (2,), EVIL, "eos"),
        _top(tokens=(EVIL, EVIL)),
        _projection({7: EVIL, 8: EVIL}),
        NeuronTokens(
            model=EVIL, neuron="L0N0", value_norm=1.0, longer_than=0.5, norm="none",
            promoted=[{"token": EVIL, "id": 1, "logit": 1.0, "probability": 0.1}],
            suppressed=[{"token": EVIL, "id": 1, "logit": 1.0}],
        ),
        Trace(
            model=EVIL, text=EVIL,
            steps=[
                {"read": EVIL, "next": EVIL, "next_probability": 0.1, "predicted": EVIL, "predicted_probability": 0.1}
                | {"neurons": [{"neuron": EVIL, "coefficient": 1.0, "push": "up", "effect": 1.0, "promotes": [EVIL]}]}
            ],
        ),
    ],
    ids=["completion", "top", "projection", "neuron", "trace"],
)  # fmt: skip
def test_hostile_texts_stay_texts(thing: Any) -> None:
    assert "<img" in _shown(thing).text


def test_pieces_escape_what_is_not_a_piece_already() -> None:
    inner = chips([EVIL])
    page = card(EVIL, EVIL, table([EVIL, "x"], [(EVIL, inner)], numbers=[0]), preformatted(EVIL))
    assert isinstance(page, Html)
    assert "<img" not in page.replace("&lt;img", "")
    assert inner in page
    assert page.count("text-align:right") == 2
