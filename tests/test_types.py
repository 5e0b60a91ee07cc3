from dataclasses import FrozenInstanceError
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotlens.errors import InputError
from cotlens.types import Completion, NeuronId, Problem, SignedNeuron, Silent, TopNeurons


@pytest.mark.parametrize("text", ["L12N345", "l12n345", " L12N345 ", "L012N0345\n"])
def test_a_neuron_is_read_from_layer_and_index(text):
    assert NeuronId.parse(text) == NeuronId(layer=12, neuron=345)


@pytest.mark.parametrize(
    "text",
    [
        "", "12,345", "L12", "N345", "N345L12", "L12N", "LN345", "L-1N2", "L1.5N2", "L12 N345", "L12N345+",
        "L1N2L3N4", "L\u0661N2", "L" + "9" * 5000 + "N1",
    ],
)  # fmt: skip
def test_another_form_is_refused_with_the_form_that_is_meant(text):
    with pytest.raises(InputError) as caught:
        NeuronId.parse(text)
    assert str(caught.value) == f"{text!r} is not a neuron; write layer and index as L12N345, both from 0"


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_a_neuron_reads_back_what_it_writes(layer, neuron):
    assert NeuronId.parse(str(NeuronId(layer, neuron))) == (layer, neuron)


def test_neurons_sort_by_layer_and_then_by_index():
    assert sorted([NeuronId(2, 1), NeuronId(1, 30), NeuronId(1, 4)]) == [(1, 4), (1, 30), (2, 1)]


@pytest.mark.parametrize(("sign", "text"), [(1, "L3N14+"), (-1, "L3N14-")])
def test_a_signed_neuron_shows_its_sign_and_knows_its_neuron(sign, text):
    signed = SignedNeuron(3, 14, sign)
    assert str(signed) == text
    assert signed.id == NeuronId(3, 14)
    assert isinstance(signed.id, NeuronId)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Problem("id", "How many?", Decimal(7)), "gold"),
        (Completion((1, 2), (3,), "text", "eos"), "text"),
        (TopNeurons(*[np.zeros((1, 2, 3))] * 3), "score"),
    ],
    ids=["Problem", "Completion", "TopNeurons"],
)
def test_records_are_frozen(record, field):
    with pytest.raises(FrozenInstanceError):
        setattr(record, field, None)


def test_a_problem_may_come_without_solution():
    assert Problem("id", "How many?", Decimal(7)).solution == ()


def test_steps_is_the_first_axis():
    top = TopNeurons(
        neuron=np.zeros((5, 2, 3), np.int32),
        coefficient=np.zeros((5, 2, 3), np.float32),
        score=np.zeros((5, 2, 3), np.float32),
    )
    assert top.steps == 5


def test_silent_progress_takes_reports_and_writes_nothing(capsys):
    progress = Silent()
    progress.begin("generate", total=10)
    progress.advance(10)
    assert capsys.readouterr() == ("", "")
