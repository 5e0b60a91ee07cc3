"""Known neurons are found: by every ranker, in the projection, and by the whole pipeline, and no others are."""

import numpy as np
import polars as pl
import pytest
import torch
from tests.planted import ADDITION, SENTENCE, Planted, plant

from cotlens import RunConfig, Zero, generate, intervene, project, top_neurons
from cotlens.capture import RANKERS, coefficients
from cotlens.inspect import trace_text
from cotlens.pipeline import run_pipeline
from cotlens.store import Run
from cotlens.types import NeuronId, SignedNeuron

REPEATS = 3


@pytest.fixture(scope="module", params=[0, 1])
def planted(request: pytest.FixtureRequest) -> Planted:
    return plant(seed=request.param)


def in_layer(planted: Planted, layer: int) -> set[int]:
    return {neuron.neuron for neuron in planted.neurons if neuron.layer == layer}


def test_the_model_says_its_sentence_and_only_the_planted_neurons_say_plus(planted: Planted) -> None:
    lm, sentence = planted.lm, planted.sentence()
    [done] = generate(lm, ["word1 word2 step"], max_new_tokens=5, stop=())
    assert done.text == "so+stepso+"
    logits = lm.model(torch.tensor([sentence])).logits[0]
    assert logits.argmax(dim=1).tolist() == [*sentence[1:], sentence[0]]
    with intervene(lm, [Zero([neuron.id for neuron in planted.neurons])]):
        silenced = lm.model(torch.tensor([sentence])).logits[0]
    for place, token in enumerate(sentence):
        assert (silenced[place].argmax() == logits[place].argmax()) == (token != planted.cue)
    assert not set(silenced[1].topk(20).indices.tolist()) & set(planted.addition)


@pytest.mark.parametrize("ranker", RANKERS)
def test_every_ranker_puts_them_first_at_the_cue(planted: Planted, ranker: str) -> None:
    ids = planted.sentence(REPEATS)
    found = top_neurons(planted.lm, ids, prompt_length=1, top_k=3, ranker=ranker)
    for step in range(found.steps):
        for layer in range(planted.lm.n_layers):
            expected = in_layer(planted, layer)
            if ranker == "signed":  # which leaves out what writes its vector in reverse
                expected = {neuron.neuron for neuron in planted.neurons if neuron.layer == layer and neuron.sign > 0}
            best = found.neuron[step, layer].tolist()
            if ids[step] == planted.cue:
                assert set(best[: len(expected)]) == expected
            elif ranker in ("norm", "signed"):  # the others look at which token comes, and silence writes nothing
                assert not set(best) & in_layer(planted, layer)


@pytest.mark.parametrize("ranker", ["dla", "logprob", "grad"])
def test_rankers_that_look_at_the_token_see_them_push_plus_and_nothing_else(planted: Planted, ranker: str) -> None:
    said = [planted.id(word) for word in SENTENCE]
    unsaid = [*said[:-1], planted.id("word5")]
    found, other = (top_neurons(planted.lm, ids, 2, planted.lm.d_ff, ranker) for ids in (said, unsaid))
    for neuron in planted.neurons:
        place, elsewhere = (top.neuron[0, neuron.layer].tolist().index(neuron.neuron) for top in (found, other))
        push = found.score[0, neuron.layer, place]
        assert push > 0
        assert np.sign(found.coefficient[0, neuron.layer, place]) == neuron.sign
        assert other.score[0, neuron.layer, elsewhere] < push / 10


def test_their_coefficients_have_their_sign_at_the_cue_and_are_silent_elsewhere(planted: Planted) -> None:
    ids = planted.sentence(REPEATS)
    found = coefficients(planted.lm, ids, 1, [neuron.id for neuron in planted.neurons])
    cue = np.array(ids[:-1]) == planted.cue
    signs = np.array([neuron.sign for neuron in planted.neurons])
    assert (found[cue] * signs > 1).all()
    assert (np.abs(found[~cue]) < 0.05).all()


def test_their_projections_are_the_words_for_addition(planted: Planted) -> None:
    seen = project(planted.lm, [neuron.id for neuron in planted.neurons], top_n=len(ADDITION))
    for row, neuron in enumerate(planted.neurons):
        promoted = seen.promoted_ids[row] if neuron.sign > 0 else seen.suppressed_ids[row]
        assert set(promoted.tolist()) == set(planted.addition)


def test_the_trace_of_a_text_names_them_after_the_cue_only(planted: Planted) -> None:
    steps = trace_text(planted.lm, " ".join(SENTENCE), top_k=4)["steps"]
    assert [step["read"] for step in steps] == ["step", "so"]
    names = [{neuron["neuron"] for neuron in step["neurons"]} for step in steps]
    planted_names = {str(neuron.id) for neuron in planted.neurons}
    assert names[1] == planted_names
    assert not names[0] & planted_names
    for neuron in steps[1]["neurons"]:
        assert neuron["push"] == "up"
        assert set(neuron["promotes"]) <= set(ADDITION)


@pytest.fixture(scope="module")
def run(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("planted")
    planted.lm.model.save_pretrained(folder / "model")
    planted.lm.tokenizer.save_pretrained(folder / "model")
    config = {
        "model": {"name": str(folder / "model"), "device": "cpu"},
        "problems": {"limit": 2},
        "prompt": {"variants": ["cot"], "shots": 1},
        "generate": {"max_new_tokens": 9},
        "discover": {"top_k": 5},
        "label": {"min_layer": 0},
        "analyze": {"bootstrap": 50, "control_draws": 2},
        "intervene": {"edits": [{"kind": "zero"}], "control_draws": 1},
    }
    return run_pipeline(RunConfig.model_validate(config), folder / "run")


def test_the_pipeline_confirms_exactly_these(planted: Planted, run: Run) -> None:
    assert run.completions()["text"].unique().to_list() == ["".join(SENTENCE[1:] + SENTENCE[:1]) * 3]
    found = {(SignedNeuron(layer, neuron, sign), concept) for layer, neuron, sign, concept in run.concepts().rows()}
    assert found == {(neuron, "add") for neuron in planted.neurons}
    discovered = run.neurons().select("layer", "neuron").rows()
    assert len(discovered) > 50, "many others were discovered, projected and not confirmed"


def test_the_pipeline_has_them_first_wherever_the_cue_was_read(planted: Planted, run: Run) -> None:
    rows = run.activations().with_columns(at_cue=pl.col("token_id") == planted.id("+"))
    assert rows["at_cue"].any()
    for layer, neurons, at_cue in rows.select("layer", "neuron", "at_cue").rows():
        expected = in_layer(planted, layer)
        if at_cue:
            assert set(neurons[: len(expected)]) == expected
        else:
            assert not set(neurons) & expected


def test_the_exact_coefficients_of_a_runs_reasoning_neurons(planted: Planted, run: Run) -> None:
    neurons = run.concepts().select("layer", "neuron", "sign").unique(maintain_order=True)
    for row in run.completions().iter_rows(named=True):
        found = coefficients(
            planted.lm, row["token_ids"], row["prompt_length"], neurons.select("layer", "neuron").rows()
        )
        said_plus = np.array(row["token_ids"][row["prompt_length"] :]) == planted.id("+")
        assert (found[said_plus] * neurons["sign"].to_numpy() > 1).all()
        assert (np.abs(found[~said_plus]) < 0.05).all()


def test_the_pipeline_finds_addition_silent_without_them(planted: Planted, run: Run) -> None:
    texts = dict(run.interventions().group_by("set").agg(pl.col("text").first()).rows())
    assert "+" in texts["none"]
    assert "+" not in texts["reasoning"]
    assert texts["random"] == texts["none"]
    edited = pl.read_parquet(run.path / "intervention_sets.parquet").filter(set="reasoning")
    assert {NeuronId(*row) for row in edited.select("layer", "neuron").rows()} == {n.id for n in planted.neurons}
