import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cotlens import LanguageModel, project
from cotlens.errors import InputError, NonFiniteError

#: Two whole pieces of the unembedding, and a rest that is no multiple of a group.
WIDE = 2 * 2048 + 904


def naive_logits(lm: LanguageModel, layer: int, neuron: int) -> np.ndarray:
    weight = lm.ffn[layer].down_projection.weight.detach()
    vector = weight[neuron] if "gpt2" in lm.name else weight[:, neuron]
    return (lm.model.get_output_embeddings().weight.detach().double() @ vector.double()).numpy()


def wide_model(tokenizer: PreTrainedTokenizerFast, fill: Callable[[torch.Tensor], object]) -> LanguageModel:
    """Twelve times as many rows in the unembedding as the tokenizer has tokens."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 70, "num_hidden_layers": 2}
    model = LlamaForCausalLM(
        LlamaConfig(**sizes, vocab_size=WIDE, num_attention_heads=2, bos_token_id=None, eos_token_id=0)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            fill(parameter)
    return LanguageModel(model, tokenizer, name="wide")


@pytest.fixture(scope="module")
def wide(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    return wide_model(tokenizer, lambda parameter: parameter.normal_(std=0.3))


@pytest.fixture(scope="module", params=["float32", "bfloat16", "float16"])
def whole_numbers(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """Weights from -2 to 2: every logit is exact in any order of summation, and most are shared by many tokens."""
    lm = wide_model(tokenizer, lambda parameter: parameter.copy_(torch.randint(-2, 3, parameter.shape)))
    lm.model.to(getattr(torch, request.param))
    return lm


def test_equals_the_unembedding_times_the_value_vector(lm: LanguageModel) -> None:
    neurons = [(2, 47), (0, 0), (1, 13)]
    found = project(lm, neurons, top_n=6)
    for row, (layer, neuron) in enumerate(neurons):
        logits = naive_logits(lm, layer, neuron)
        order = np.argsort(-logits, kind="stable")
        np.testing.assert_array_equal(found.promoted_ids[row], order[:6])
        np.testing.assert_array_equal(found.suppressed_ids[row], order[::-1][:6])
        np.testing.assert_allclose(found.promoted_logits[row], logits[order[:6]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.suppressed_logits[row], logits[order[::-1][:6]], rtol=1e-4, atol=1e-5)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found.promoted_probs[row], probabilities[order[:6]], rtol=1e-4)


@pytest.mark.parametrize("top_n", [1, 20, 700, WIDE])
def test_equal_logits_go_by_id_and_nothing_is_missed(whole_numbers: LanguageModel, top_n: int) -> None:
    neurons = [(1, 69), (0, 0), (0, 33)]
    found = project(whole_numbers, neurons, top_n)
    for row, (layer, neuron) in enumerate(neurons):
        logits = naive_logits(whole_numbers, layer, neuron)
        assert len(np.unique(logits)) < WIDE / 20
        down, up = np.argsort(-logits, kind="stable")[:top_n], np.argsort(logits, kind="stable")[:top_n]
        np.testing.assert_array_equal(found.promoted_ids[row], down)
        np.testing.assert_array_equal(found.promoted_logits[row], logits[down])
        np.testing.assert_array_equal(found.suppressed_ids[row], up)
        np.testing.assert_array_equal(found.suppressed_logits[row], logits[up])


def test_every_neuron_of_a_wide_vocabulary(wide: LanguageModel) -> None:
    found = project(wide, top_n=30)
    for row, (layer, neuron) in enumerate(zip(found.layer, found.neuron, strict=True)):
        logits = naive_logits(wide, layer, neuron)
        near = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        near(found.promoted_logits[row], np.sort(logits)[::-1][:30])
        near(found.suppressed_logits[row], np.sort(logits)[:30])
        near(found.promoted_logits[row], logits[found.promoted_ids[row]])
        near(found.suppressed_logits[row], logits[found.suppressed_ids[row]])
        assert len(set(found.promoted_ids[row])) == len(set(found.suppressed_ids[row])) == 30


def test_all_tokens_can_be_asked_for(wide: LanguageModel) -> None:
    found = project(wide, [(1, 5)], top_n=WIDE)
    np.testing.assert_array_equal(np.sort(found.promoted_ids[0]), np.arange(WIDE))
    np.testing.assert_array_equal(found.promoted_ids[0], found.suppressed_ids[0][::-1])
    assert float(found.promoted_probs[0].astype(np.float64).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [0.3, 100.0], ids=["usual", "logits in the thousands"])
def test_probabilities_are_those_of_the_whole_vocabulary(tokenizer: PreTrainedTokenizerFast, size: float) -> None:
    lm = wide_model(tokenizer, lambda parameter: parameter.normal_(std=size**0.5))
    found = project(lm, [(0, 1), (1, 2)], top_n=50)
    rtol = 2e-3 if size > 1 else 1e-5
    for row, (layer, neuron) in enumerate([(0, 1), (1, 2)]):
        expected = torch.from_numpy(naive_logits(lm, layer, neuron)).log_softmax(0)[found.promoted_ids[row].tolist()]
        np.testing.assert_allclose(found.promoted_probs[row], expected.exp(), rtol, atol=1e-30)


def test_blocks_of_neurons_change_nothing(wide: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    neurons = [(layer, index) for index in range(70) for layer in (1, 0)]
    whole, seen = project(wide, neurons, top_n=5), []
    monkeypatch.setattr(sys.modules["cotlens.project.projection"], "_LOGITS", 9 * WIDE)
    blocks = project(wide, neurons, top_n=5, on_progress=seen.append)
    assert seen == [9] * 15 + [5]
    np.testing.assert_array_equal(blocks.promoted_ids, whole.promoted_ids)
    np.testing.assert_array_equal(blocks.suppressed_ids, whole.suppressed_ids)
    np.testing.assert_allclose(blocks.promoted_probs, whole.promoted_probs, rtol=1e-5)
    np.testing.assert_array_equal(np.stack([blocks.layer, blocks.neuron], axis=1), neurons)


def test_rows_follow_the_order_given_with_the_promised_types(lm: LanguageModel) -> None:
    found = project(lm, [(2, 1), (0, 5), (2, 1)], top_n=3)
    assert found.layer.tolist() == [2, 0, 2]
    assert found.neuron.tolist() == [1, 5, 1]
    np.testing.assert_array_equal(found.promoted_ids[0], found.promoted_ids[2])
    assert found.promoted_ids.dtype == found.suppressed_ids.dtype == found.layer.dtype == np.int32
    assert found.promoted_logits.dtype == found.suppressed_logits.dtype == found.promoted_probs.dtype == np.float32
    assert found.norm == "none"


def test_gamma_folds_the_final_norms_gain_in(lm: LanguageModel) -> None:
    found = project(lm, [(1, 3)], top_n=4, norm="gamma")
    vector = lm.ffn[1].value_vectors[3] * lm.final_norm_gain
    logits = (lm.unembedding @ vector).numpy()
    np.testing.assert_allclose(found.promoted_logits[0], np.sort(logits)[::-1][:4], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.suppressed_logits[0], np.sort(logits)[:4], rtol=1e-3, atol=1e-4)
    assert found.norm == "gamma"


def test_no_neurons_named_means_all_of_them(llama: LanguageModel) -> None:
    found = project(llama, top_n=2)
    assert len(found.layer) == 3 * 48
    one = project(llama, [(2, 47)], top_n=2)
    np.testing.assert_array_equal(found.promoted_ids[-1], one.promoted_ids[0])


def test_an_empty_list_gives_no_rows(llama: LanguageModel, wide: LanguageModel) -> None:
    for lm in (llama, wide):
        found = project(lm, [], top_n=2)
        assert found.promoted_ids.shape == found.suppressed_logits.shape == (0, 2)
        assert found.promoted_ids.dtype == np.int32
        assert found.layer.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_give_fp32_logits(
    tokenizer: PreTrainedTokenizerFast, wide: LanguageModel, dtype: torch.dtype
) -> None:
    half = LanguageModel(LlamaForCausalLM(wide.model.config).to(dtype), tokenizer, name="half")
    found = project(half, [(0, 1)], top_n=3)
    expected = half.unembedding.double() @ half.ffn[0].value_vectors[1].double()
    np.testing.assert_allclose(found.promoted_logits[0], expected.topk(3).values.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.suppressed_logits[0], expected.topk(3, largest=False).values.numpy(), rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_value_vector_stops_it_naming_the_layer(tokenizer: PreTrainedTokenizerFast, bad: float) -> None:
    lm = wide_model(tokenizer, lambda parameter: parameter.normal_())
    lm.ffn[1].down_projection.weight.data[3, 7] = bad
    assert project(lm, [(0, 7), (1, 6)]).layer.tolist() == [0, 1]
    for neurons in (None, [(0, 0), (1, 7)]):
        with pytest.raises(NonFiniteError, match="layer 1: wide's value vectors are not finite"):
            project(lm, neurons)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("token", [0, 3000, WIDE - 1])
def test_a_broken_unembedding_stops_it(tokenizer: PreTrainedTokenizerFast, bad: float, token: int) -> None:
    lm = wide_model(tokenizer, lambda parameter: parameter.normal_())
    lm.model.lm_head.weight.data[token, 2] = bad
    with pytest.raises(NonFiniteError, match=r"layer 1: .* look for it in the unembedding"):
        project(lm, [(1, 0)])


def test_memory_holds_neither_all_logits_nor_the_unembedding_in_fp32() -> None:
    """They would take 600 and 384 MB here."""
    code = """
import sys, torch
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models
from cotlens import LanguageModel, project

def memory(field):
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0]) / 1024  # MiB

torch.set_num_threads(1)
torch.set_default_dtype(torch.float16)
sizes = {"hidden_size": 640, "intermediate_size": 1000, "num_hidden_layers": 1, "num_attention_heads": 8}
model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=150_000, tie_word_embeddings=True))
torch.set_default_dtype(torch.float32)
lm = LanguageModel(model, PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())), name="large")
project(lm, [(0, 0)])
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = memory("VmRSS")
assert len(project(lm).layer) == 1000
print(memory("VmHWM") - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads the peak from /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 320


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": [(9, 0)]}, "L9N0: layer 9 is out of range"),
        ({"neurons": [(0, 48)]}, "neuron 48 is out of range"),
        ({"neurons": [(0, 0)], "top_n": 0}, "top_n is 0"),
        ({"neurons": [(0, 0)], "top_n": 401}, "top_n is 401"),
    ],
)
def test_bad_input_is_named(llama: LanguageModel, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        project(llama, **options)  # type: ignore[arg-type]


def test_an_unknown_norm_is_named(llama: LanguageModel) -> None:
    unchecked = inspect.unwrap(project)  # without the run-time type check that only tests have
    with pytest.raises(InputError, match="norm is 'beta'"):
        unchecked(llama, neurons=[(0, 0)], norm="beta")
