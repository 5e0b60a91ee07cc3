"""What every supported architecture must fulfil, on a tiny random model made from its own configuration class.

Whatever is expected here is worked out from the model's own forward pass, with hooks of the test.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from tests.conftest import MULTIPLIERS
from torch import Tensor, nn

from cotlens import LanguageModel, Noise, Scale, Zero, generate, intervene, project, top_neurons
from cotlens.capture import capture_top_neurons
from cotlens.generate.stopping import StopRule
from cotlens.model import padded_rows, shared_pass
from cotlens.model.additive import terms_of
from cotlens.model.feed_forward import FeedForward
from cotlens.model.shared_prefix import Encoding, Prefixes, RowBatch, compute_prefix

engine = sys.modules["cotlens.generate.engine"]

#: Those whose attention is their own code, so that each row has a copy of the prefix.
PADDED = {"bloom", "falcon", "falcon-alibi", "falcon-grouped"}
_NEW = 8
#: Those that normalise the feed-forward output before it joins the residual stream.
POST_NORM = {"gemma2", "gemma3", "gemma3-images", "glm4", "hyperclovax", "olmo2"}


def architecture(lm: LanguageModel) -> str:
    return lm.name.removeprefix("tiny-")


def some_ids(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 390, (length,), generator=generator).tolist()


@torch.inference_mode()
def logits_of(lm: LanguageModel, ids: list[int]) -> Tensor:
    """Of the plain forward over one text."""
    return lm.model(torch.tensor([ids])).logits[0]


@contextlib.contextmanager
def watched(module: nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """Inputs and output of each call."""
    calls: list[tuple[Tensor, ...]] = []
    handle = module.register_forward_hook(lambda _, inputs, out: calls.append((*[i.clone() for i in inputs], out + 0)))
    try:
        yield calls
    finally:
        handle.remove()


@contextlib.contextmanager
def answering(module: nn.Module, answer: Tensor | float) -> Iterator[None]:
    """The module writes ``answer`` at every position."""
    handle = module.register_forward_hook(lambda _, __, output: torch.zeros_like(output) + answer)
    try:
        yield
    finally:
        handle.remove()


def bias_of(ffn: FeedForward) -> Tensor | float:
    bias = getattr(ffn.down_projection, "bias", None)
    return 0.0 if bias is None else bias.detach()


def hooks(lm: LanguageModel) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules())


def test_every_layer_is_found_and_nothing_is_left_behind(any_lm: LanguageModel) -> None:
    width = 128 if architecture(any_lm) == "bloom" else 48
    assert [ffn.layer for ffn in any_lm.ffn] == [0, 1, 2]
    assert {tuple(ffn.value_vectors.shape) for ffn in any_lm.ffn} == {(width, 32)}
    assert (any_lm.n_layers, any_lm.d_ff, any_lm.d_model) == (3, width, 32)
    assert len({id(ffn.down_projection) for ffn in any_lm.ffn}) == 3
    assert any_lm.shares_prefix == (architecture(any_lm) not in PADDED)
    assert hooks(any_lm) == 0


def test_coefficients_times_value_vectors_is_the_blocks_output(any_lm: LanguageModel) -> None:
    for ffn in any_lm.ffn:
        block = ffn.down_projection if ffn.block is None else ffn.block
        with watched(ffn.down_projection) as down, watched(block) as whole:
            logits_of(any_lm, some_ids(20))
        [(coefficients, _)], [(*inputs, output)] = down, whole
        if architecture(any_lm) == "bloom":
            output = output - inputs[1]  # the residual
        torch.testing.assert_close(coefficients @ ffn.value_vectors + bias_of(ffn), output, rtol=1e-4, atol=1e-5)


def test_residual_vectors_are_what_joins_the_residual_stream(any_lm: LanguageModel) -> None:
    has_norm = architecture(any_lm) in POST_NORM
    for ffn in any_lm.ffn:
        assert (ffn.post_norm is not None) == has_norm
        if ffn.post_norm is None:
            torch.testing.assert_close(ffn.residual_vectors, ffn.value_vectors, rtol=0, atol=0)
            continue
        with watched(ffn.down_projection) as down, watched(ffn.post_norm) as norm:
            logits_of(any_lm, some_ids(20))
        [(coefficients, output)], [(_, joins)] = down, norm
        rms = output.square().mean(dim=-1, keepdim=True).sqrt()
        torch.testing.assert_close(coefficients @ ffn.residual_vectors / rms, joins, rtol=1e-3, atol=1e-4)


def test_the_logits_are_the_unembedding_of_the_final_norm(any_lm: LanguageModel) -> None:
    with watched(any_lm.final_norm) as calls:
        logits = logits_of(any_lm, some_ids(20))
    normed = calls[-1][-1].reshape(20, 32)
    expected = normed @ any_lm.unembedding.T * MULTIPLIERS.get(any_lm.name, (1.0, 1.0))[1]
    if architecture(any_lm) == "gemma2":
        expected = 5 * torch.tanh(expected / 5)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    centred = torch.randn(32, generator=torch.Generator().manual_seed(0))
    centred = (centred - centred.mean()) / centred.std(correction=0)
    with torch.inference_mode():
        odd = (any_lm.final_norm(centred) - any_lm.final_norm(-centred)) / 2
    torch.testing.assert_close(any_lm.final_norm_gain * centred, odd, rtol=1e-4, atol=1e-4)


def test_hooks_change_no_bit(any_lm: LanguageModel) -> None:
    ids = some_ids(30)
    plain = logits_of(any_lm, ids)
    with capture_top_neurons(any_lm, top_k=5) as recorder:
        recorder.positions = torch.arange(10, 30)
        captured = logits_of(any_lm, ids)
        assert recorder.take().steps == 20
    every = [(ffn.layer, neuron) for ffn in any_lm.ffn for neuron in range(ffn.width)]
    with intervene(any_lm, [Scale(every, 1.0)]):
        scaled = logits_of(any_lm, ids)
    assert torch.equal(plain, captured)
    assert torch.equal(plain, scaled)
    assert hooks(any_lm) == 0


def test_top_neurons_are_those_of_a_naive_computation(any_lm: LanguageModel) -> None:
    ids, prompt, k = some_ids(24), 20, 6
    found = top_neurons(any_lm, ids, prompt_length=prompt, top_k=k)
    assert found.steps == 4
    for ffn in any_lm.ffn:
        for step in range(found.steps):
            with watched(ffn.down_projection) as calls:
                logits_of(any_lm, ids[: prompt + step])  # the step's token is not read
            coefficients = calls[0][0].reshape(-1, ffn.width)[-1]
            lengths = torch.stack([vector.norm() for vector in ffn.value_vectors])
            score = coefficients.abs() * lengths
            best = sorted(range(ffn.width), key=lambda neuron: (-float(score[neuron]), neuron))[:k]
            assert found.neuron[step, ffn.layer].tolist() == best
            for name, expected in (("coefficient", coefficients[best]), ("score", score[best])):
                seen = torch.from_numpy(getattr(found, name)[step, ffn.layer])
                torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


def test_projection_is_the_logits_of_one_value_vector(any_lm: LanguageModel) -> None:
    ffn = any_lm.ffn[1]
    one_hot = torch.zeros(1, 1, ffn.width)
    one_hot[..., 3] = 1
    head = any_lm.model.get_output_embeddings()
    with torch.inference_mode():
        written = ffn.down_projection(one_hot) - bias_of(ffn)
        if architecture(any_lm) == "opt-350m":
            written = any_lm.model.model.decoder.project_out(written)
        logits = head(written)[0, 0]
    found = project(any_lm, [(1, 3)], top_n=400)
    assert found.promoted_ids.shape == (1, 400)
    torch.testing.assert_close(
        torch.from_numpy(found.promoted_logits[0]), logits[found.promoted_ids[0].tolist()], rtol=1e-4, atol=1e-5
    )
    assert found.promoted_ids[0, 0] == logits.argmax()
    assert found.suppressed_ids[0, 0] == logits.argmin()


def test_zeroing_all_neurons_of_a_layer_leaves_its_bias(any_lm: LanguageModel) -> None:
    ids = some_ids(20)
    for ffn in any_lm.ffn:
        with answering(ffn.down_projection, bias_of(ffn)):
            expected = logits_of(any_lm, ids)
        with intervene(any_lm, [Zero([(ffn.layer, neuron) for neuron in range(ffn.width)])]):
            seen = logits_of(any_lm, ids)
        # A norm that follows enlarges what rounding leaves of nothing.
        off = 1e-2 if architecture(any_lm) in POST_NORM else 1e-4
        torch.testing.assert_close(seen, expected, rtol=off, atol=off)
        assert not torch.allclose(expected, logits_of(any_lm, ids), atol=1e-2)


@pytest.mark.parametrize("padded", [False, True], ids=["own way", "padded"])
@pytest.mark.parametrize("prefix", [0, 2, 30])
def test_every_row_is_as_if_alone(
    any_lm: LanguageModel, prefix: int, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if padded:
        monkeypatch.setitem(any_lm.__dict__, "shares_prefix", False)
    shared = some_ids(prefix)
    suffixes = [some_ids(25, seed=1), some_ids(4, seed=2), some_ids(1, seed=3)]
    batch = RowBatch(any_lm, Prefixes(any_lm, shared), slots=3, columns=28)

    def check(logits: Tensor, texts: list[list[int]]) -> None:
        expected = torch.stack([logits_of(any_lm, shared + text)[-1] for text in texts])
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)

    check(batch.begin(suffixes, [0, 0, 0]), suffixes)
    texts = [[*suffix, token] for suffix, token in zip(suffixes, (7, 8, 9), strict=True)]
    check(batch.append(torch.tensor([7, 8, 9])), texts)
    assert batch.drop([1]) == [0, 2]
    check(batch.append(torch.tensor([11, 13])), [[*texts[0], 11], [*texts[2], 13]])
    order = batch.drop([0])
    assert order == [1]
    check(batch.append(torch.tensor([17])), [[*texts[2], 13, 17]])


@pytest.mark.parametrize("prefix", [0, 30])
def test_each_row_has_its_own_intervention(any_lm: LanguageModel, prefix: int) -> None:
    shared = some_ids(prefix)
    edits = [[], [Noise([(0, 3), (1, 40), (1, 7)], sigma=3.0)], [Scale([(1, 7), (2, 5)], -4.0), Zero([(1, 9)])]]
    groups, suffixes = [0, 2, 1, 2], [some_ids(n, seed=n) for n in (9, 25, 4, 1)]
    batch = RowBatch(any_lm, Prefixes(any_lm, shared, [terms_of(any_lm, some) for some in edits]), slots=4, columns=26)

    def check(logits: Tensor, texts: list[list[int]], groups: list[int]) -> None:
        for row, text, group in zip(logits, texts, groups, strict=True):
            with intervene(any_lm, edits[group]):
                torch.testing.assert_close(row, logits_of(any_lm, shared + text)[-1], rtol=1e-3, atol=1e-3)

    check(batch.begin(suffixes, groups), suffixes, groups)
    order = batch.drop([1])
    suffixes, groups = ([values[place] for place in order] for values in (suffixes, groups))
    texts = [[*suffix, token] for suffix, token in zip(suffixes, (7, 8, 9), strict=True)]
    check(batch.append(torch.tensor([7, 8, 9])), texts, groups)
    if batch.takes_more:
        check(batch.begin([[5, 6]], [1]), [[5, 6]], [1])
        longer = [[*text, token] for text, token in zip([*texts, [5, 6]], (1, 2, 3, 4), strict=True)]
        check(batch.append(torch.tensor([1, 2, 3, 4])), longer, [*groups, 1])
    assert hooks(any_lm) == 0


def test_neurons_of_a_batch_are_those_of_each_text_alone(any_lm: LanguageModel) -> None:
    shared, suffixes = some_ids(30), [some_ids(20, seed=1), some_ids(3, seed=2)]
    prefix = compute_prefix(any_lm, shared)
    with capture_top_neurons(any_lm, top_k=6) as recorder:
        encoding = Encoding(any_lm, Prefixes.ready(any_lm, prefix), suffixes, [0, 0])
        first, second = encoding.ends
        recorder.positions = torch.tensor([first - 2, first - 1, first, second - 1, second])
        encoding.run()
        together = recorder.take()
    alone = [
        top_neurons(any_lm, [*shared, *suffix, 1], prompt_length=len(shared) + len(suffix) + 1 - steps, top_k=6)
        for suffix, steps in zip(suffixes, (3, 2), strict=True)
    ]
    for name in ("neuron", "coefficient"):
        expected = torch.cat([torch.from_numpy(getattr(found, name)) for found in alone])
        torch.testing.assert_close(torch.from_numpy(getattr(together, name)), expected, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Eight prompts of different lengths; what they have in common is longer than the sliding windows."""
    shared = some_ids(40)
    return [shared + some_ids(length, seed=length) for length in (3, 25, 1, 9, 17, 30, 2, 5)]


@pytest.fixture(scope="module")
def written(any_lm: LanguageModel, texts: list[list[int]]) -> list[list[int]]:
    """What transformers generates for each by itself, unpadded, without the end token."""

    def alone(text: list[int]) -> list[int]:
        ids = torch.tensor([text])
        mask = torch.ones_like(ids)
        out = any_lm.model.generate(ids, attention_mask=mask, max_new_tokens=_NEW, do_sample=False, pad_token_id=0)
        new: list[int] = out[0, len(text) :].tolist()
        return new[:-1] if new[-1] in any_lm.stop_ids else new

    return [alone(text) for text in texts]


def complete(lm: LanguageModel, texts: list[list[int]], size: int, prefix_length: int | None = None) -> list[list[int]]:
    """The tokens that the engine generates."""
    done = dict(engine.complete(lm, texts, StopRule(lm, (), _NEW), size, prefix_length=prefix_length))
    return [list(done[place].token_ids) for place in range(len(texts))]


@pytest.mark.parametrize(("prefix_length", "sizes"), [(None, (1, 3, 8)), (0, (3, 8))], ids=["shared", "nothing shared"])
def test_generation_is_that_of_transformers_in_any_batch_and_order(
    any_lm: LanguageModel,
    texts: list[list[int]],
    written: list[list[int]],
    prefix_length: int | None,
    sizes: tuple[int, ...],
) -> None:
    for size in sizes:
        assert complete(any_lm, texts, size, prefix_length) == written
    assert complete(any_lm, texts[::-1], 3, prefix_length) == written[::-1]


def test_generation_of_one_prompt_shares_all_but_its_last_token(
    any_lm: LanguageModel, texts: list[list[int]], written: list[list[int]]
) -> None:
    for text, expected in zip(texts[:2], written, strict=False):
        assert complete(any_lm, [text], 1) == [expected]


def test_those_texts_tell_if_the_beginning_is_ignored(
    any_lm: LanguageModel, texts: list[list[int]], written: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len({token for text in written for token in text}) >= 15, "the tokens vary"
    assert len(set(map(tuple, written))) == len(texts), "no two texts go on alike"
    monkeypatch.setattr(shared_pass, "merge", lambda own, shared: own.out)
    monkeypatch.setattr(padded_rows, "_shifted", lambda states, padding: torch.zeros_like(torch.cat(list(states))))
    found = complete(any_lm, texts, 8)
    assert sum(a != b for a, b in zip(found, written, strict=True)) >= 6


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon-alibi"])
def test_half_precision_works_throughout(
    name: str, make_lm: Callable[[str], LanguageModel], prompts: tuple[str, ...]
) -> None:
    full = make_lm(name)
    lm = LanguageModel(full.model.to(torch.bfloat16), full.tokenizer, name=name)
    assert lm.dtype == torch.bfloat16
    assert lm.final_norm_gain.dtype == torch.float32
    done = generate(lm, prompts, max_new_tokens=4, stop=())
    ids = [*done[0].prompt_ids, *done[0].token_ids, 1]
    found = top_neurons(lm, ids, prompt_length=len(done[0].prompt_ids), top_k=5)
    with watched(lm.ffn[2].down_projection) as calls:
        logits_of(lm, ids[:-1])
    coefficient = calls[0][0].reshape(-1, 48)[-1, found.neuron[-1, 2].tolist()].float()
    assert torch.equal(torch.from_numpy(found.coefficient[-1, 2]), coefficient)
