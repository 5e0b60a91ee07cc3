"""Looking at a model without a run: effects that are what removing a neuron would change, and the logit lens."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from cotlens import LanguageModel, NeuronId
from cotlens.errors import InputError, ModelFormatError
from cotlens.inspect import describe_neuron, trace_text
from cotlens.logit_lens import read_layers, read_streams

TEXT = "A box holds 12 pens and 3"
CONTEXT = 16


def test_the_last_layer_of_the_lens_says_what_the_model_says(any_lm: LanguageModel) -> None:
    ids = any_lm.encode(TEXT)
    streams = read_streams(any_lm, ids[:-1])
    if any_lm.name == "tiny-opt-350m":
        with pytest.raises(ModelFormatError, match="no norm follows the last layer"):
            read_layers(any_lm, streams, ids[1:])
        return
    steps = read_layers(any_lm, streams, ids[1:])
    assert {len(step) for step in steps} == {any_lm.n_layers}
    said = any_lm.model(torch.tensor([ids])).logits[0].detach().float().softmax(dim=-1)
    for place, step in enumerate(steps):
        assert step[-1]["next_probability"] == pytest.approx(float(said[place, ids[place + 1]]), rel=1e-3, abs=1e-6)
        assert step[-1]["probability"] == pytest.approx(float(said[place].max()), rel=1e-3)


def test_the_lens_is_there_when_asked_for(lm: LanguageModel) -> None:
    assert all("lens" not in step for step in trace_text(lm, TEXT)["steps"])
    steps = trace_text(lm, TEXT, logit_lens=True)["steps"]
    assert all(step["lens"][-1]["token"] == step["predicted"] for step in steps)


def test_the_effect_of_a_neuron_is_its_writing_along_the_slope_of_the_log_probability(llama: LanguageModel) -> None:
    ids = llama.encode(TEXT)
    steps = trace_text(llama, TEXT, top_k=20)["steps"]
    streams = read_streams(llama, ids[:-1])
    gain, unembedding = llama.final_norm.weight.detach(), llama.unembedding.float()
    for place, step in enumerate(steps):
        stream = streams.layers[-1][place].clone().requires_grad_()
        scale = torch.rsqrt(stream.detach().square().mean() + llama.model.config.rms_norm_eps)
        said = (unembedding @ (gain * stream * scale)).log_softmax(dim=-1)
        [slope] = torch.autograd.grad(said[ids[place + 1]], stream)
        for neuron in step["neurons"]:
            name = NeuronId.parse(neuron["neuron"])
            written = neuron["coefficient"] * llama.ffn[name.layer].value_vectors[name.neuron]
            assert neuron["effect"] == pytest.approx(float(slope @ written), rel=1e-3, abs=1e-6)
            assert (neuron["effect"] > 0) == (neuron["push"] == "up")
        effects = [abs(neuron["effect"]) for neuron in step["neurons"]]
        assert effects == sorted(effects, reverse=True)


def test_a_neuron_may_be_given_as_a_pair(llama: LanguageModel) -> None:
    assert describe_neuron(llama, (1, 2))["neuron"] == "L1N2"  # type: ignore[arg-type]


@pytest.fixture
def short(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """A GPT-2, which has nothing to tell a position beyond its context by."""
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_inner": 48, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=400, **sizes))
    return LanguageModel(model, tokenizer, name="short")


def text_of(lm: LanguageModel, tokens: int) -> str:
    text = "".join(f"{number % 10}," for number in range(tokens))
    text = lm.decode(lm.encode(text)[:tokens])
    assert len(lm.encode(text)) == tokens
    return text


def test_a_text_beyond_the_context_is_refused_before_the_model_reads_it(
    short: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(short.model), "forward", lambda *_, **__: pytest.fail("the model was run"))
    with pytest.raises(InputError, match="the text is 17 tokens long; short reads at most 16"):
        trace_text(short, text_of(short, CONTEXT + 2))


def test_a_text_that_fills_the_context_is_traced_to_its_last_token(short: LanguageModel) -> None:
    text = text_of(short, CONTEXT + 1)  # the last token is not read
    steps = trace_text(short, text, top_k=1)["steps"]
    assert steps[0]["read"] + "".join(step["next"] for step in steps) == text
    with torch.inference_mode():
        probabilities = short.model(torch.tensor([short.encode(text)[:-1]])).logits[0].softmax(dim=-1)
    assert [step["predicted_probability"] for step in steps] == pytest.approx(probabilities.max(dim=-1).values.tolist())
