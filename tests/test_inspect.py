import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from cotlens import LanguageModel
from cotlens.errors import InputError
from cotlens.inspect import trace_text

CONTEXT = 16


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
