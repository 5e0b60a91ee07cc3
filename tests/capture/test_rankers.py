"""Each ranker against its definition, computed by the model's own modules on every supported architecture.

What a feed-forward block adds to the residual stream is measured: the layer's output with it, less the output without.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from tests.conftest import MULTIPLIERS
from torch import Tensor, nn
from transformers.models.cohere.modeling_cohere import CohereLayerNorm

from cotlens import LanguageModel, top_neurons
from cotlens.capture import RANKERS, rankers
from cotlens.capture.residuals import record_residuals
from cotlens.errors import InputError, ModelFormatError, NonFiniteError
from cotlens.model.architecture import find_module
from cotlens.model.shared_prefix import Encoding

IDS = torch.randint(1, 390, (24,), generator=torch.Generator().manual_seed(5)).tolist()
PROMPT = 17
STEPS = len(IDS) - PROMPT
POSITIONS = range(PROMPT - 1, len(IDS) - 1)
#: Its layers normalise the whole residual stream, so no neuron has a part of its own in the logits.
NORM_AFTER_SUM = "tiny-opt-350m"


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextlib.contextmanager
def hooked(module: nn.Module, hook: Callable[..., object]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def forward(lm: LanguageModel) -> Tensor:
    """Logits of the plain forward pass, with the final norm's output as the model makes it."""
    with torch.no_grad():
        return lm.model(torch.tensor([IDS[:-1]])).logits[0]


def final_norm(lm: LanguageModel) -> nn.Module:
    module = find_module(lm.model, lm._layout.final_norm)
    assert module is not None
    return module


def multipliers(lm: LanguageModel) -> tuple[float, float]:
    """Of what a block writes, and of logits."""
    return MULTIPLIERS.get(lm.name, (1.0, 1.0))


def layer_of(lm: LanguageModel, layer: int) -> nn.Module:
    return find_module(lm.model, lm._layout.layers)[layer]


def seen(lm: LanguageModel, module: nn.Module, silent: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Input and output of ``module``, one row per token, in a forward pass in which ``silent`` writes nothing."""
    calls: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        calls.append((inputs[0].flatten(0, -2), first(output).flatten(0, -2)))

    with contextlib.ExitStack() as stack:
        if silent is not None:
            stack.enter_context(hooked(silent, lambda _, __, out: torch.zeros_like(out)))
        stack.enter_context(hooked(module, keep))
        forward(lm)
    return calls[0]


def written(lm: LanguageModel, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """What each neuron adds [T, F, D], what the bias adds [T, D], and the stream without the block [T, D]."""
    ffn = lm.ffn[layer]
    m, output = (values[POSITIONS] for values in seen(lm, ffn.down_projection))
    last = ffn.post_norm or ffn.down_projection
    _, before = seen(lm, layer_of(lm, layer), silent=last)
    parts = m[:, :, None] * ffn.value_vectors
    bias = getattr(ffn.down_projection, "bias", None)
    constant = torch.zeros_like(output) if bias is None else bias.detach().expand_as(output)
    if ffn.post_norm is not None:
        factor = ffn.post_norm(output).detach() / output  # of an RMS norm: gain over root mean square
        parts, constant = parts * factor[:, None], constant * factor
    multiplier, _ = multipliers(lm)
    return multiplier * parts, multiplier * constant, before[POSITIONS]


def frozen_logit(lm: LanguageModel, added: Tensor) -> Tensor:
    """The part of ``added [T, ..., D]`` in the logit of each step's token, with the final norm's scale held."""
    norm = final_norm(lm)
    stream = seen(lm, norm)[0][POSITIONS]
    eps = getattr(norm, "eps", getattr(norm, "variance_epsilon", 0))
    if isinstance(norm, nn.LayerNorm | CohereLayerNorm):
        scale = 1 / (stream.var(dim=-1, unbiased=False) + eps).sqrt()
        added = added - added.mean(dim=-1, keepdim=True)
        gain = norm.weight.detach()
    else:
        scale = 1 / (stream.square().mean(dim=-1) + eps).sqrt()
        gain = norm.weight.detach() + ("gemma" in lm.name)
    rows = lm.unembedding[IDS[PROMPT:]] * gain * scale[:, None] * multipliers(lm)[1]
    return torch.einsum("t...d,td->t...", added, rows)


def log_probability(lm: LanguageModel, stream: Tensor) -> Tensor:
    """Of each step's token, if ``stream [T, ..., D]`` went into the final norm, by the model's own modules."""
    with torch.no_grad():
        logits = multipliers(lm)[1] * lm.model.get_output_embeddings()(final_norm(lm)(stream))
    cap = getattr(lm.model.config.get_text_config(), "final_logit_softcapping", None)
    if cap is not None:
        logits = cap * (logits / cap).tanh()
    chosen = torch.tensor(IDS[PROMPT:]).view(-1, *[1] * (stream.ndim - 2), 1).expand(*stream.shape[:-1], 1)
    return logits.log_softmax(dim=-1).gather(-1, chosen)[..., 0]


def all_scores(lm: LanguageModel, ranker: str) -> list[Tensor]:
    """The score of every neuron, in the order of neurons; per layer, [T, F]."""
    found = top_neurons(lm, IDS, PROMPT, top_k=lm.d_ff, ranker=ranker)
    assert (np.diff(found.score, axis=2) <= 0).all(), "best first"
    layers = []
    for layer in range(lm.n_layers):
        index = torch.from_numpy(found.neuron[:, layer]).long()
        assert index.sort(dim=1).values.equal(torch.arange(lm.d_ff).expand(STEPS, -1))
        layers.append(torch.empty(STEPS, lm.d_ff).scatter(1, index, torch.from_numpy(found.score[:, layer])))
    return layers


def test_signed_is_the_length_with_the_coefficients_sign(llama: LanguageModel) -> None:
    for layer, scores in enumerate(all_scores(llama, "signed")):
        m = seen(llama, llama.ffn[layer].down_projection)[0][POSITIONS]
        torch.testing.assert_close(scores, m * llama.ffn[layer].value_vectors.norm(dim=1))
        assert (scores < 0).any()


def test_dla_is_the_neurons_part_in_the_logit(any_lm: LanguageModel) -> None:
    if any_lm.name == NORM_AFTER_SUM:
        pytest.skip("no neuron has a part of its own")
    for layer, scores in enumerate(all_scores(any_lm, "dla")):
        parts, _, _ = written(any_lm, layer)
        torch.testing.assert_close(scores, frozen_logit(any_lm, parts), rtol=1e-3, atol=1e-4)


def test_the_parts_of_all_neurons_and_of_all_else_are_the_logit(any_lm: LanguageModel) -> None:
    if any_lm.name == NORM_AFTER_SUM:
        pytest.skip("no neuron has a part of its own")
    neurons = sum(scores.sum(dim=1) for scores in all_scores(any_lm, "dla"))
    norm, head = final_norm(any_lm), any_lm.model.get_output_embeddings()
    stream = seen(any_lm, norm)[0][POSITIONS]
    # What is no neuron's: embeddings, attention, biases; and what norm and unembedding add whatever comes in.
    rest = stream - sum(written(any_lm, layer)[0].sum(dim=1) for layer in range(any_lm.n_layers))
    constant = any_lm.unembedding[IDS[PROMPT:]] @ getattr(norm, "bias", torch.zeros(any_lm.d_model)).detach()
    if getattr(head, "bias", None) is not None:
        constant = constant + head.bias.detach()[IDS[PROMPT:]]
    with torch.no_grad():
        logit = head(norm(stream)).gather(1, torch.tensor(IDS[PROMPT:])[:, None])[:, 0]
    logit, constant = (multipliers(any_lm)[1] * part for part in (logit, constant))
    torch.testing.assert_close(neurons + frozen_logit(any_lm, rest) + constant, logit, rtol=1e-3, atol=1e-3)


def test_logprob_is_the_increase_by_the_models_own_norm_and_unembedding(any_lm: LanguageModel) -> None:
    if any_lm.name == NORM_AFTER_SUM:
        pytest.skip("no neuron has a part of its own")
    assert any_lm.d_ff <= 2 * rankers.CANDIDATES
    found = top_neurons(any_lm, IDS, PROMPT, top_k=12, ranker="logprob")
    for layer in range(any_lm.n_layers):
        parts, _, before = written(any_lm, layer)
        increase = log_probability(any_lm, before[:, None] + parts) - log_probability(any_lm, before)[:, None]
        best = increase.topk(12, dim=1).values
        np.testing.assert_allclose(found.score[:, layer], best, rtol=1e-3, atol=2e-4)
        own = increase.gather(1, torch.from_numpy(found.neuron[:, layer]).long())
        np.testing.assert_allclose(found.score[:, layer], own, rtol=1e-3, atol=2e-4)


def test_logprob_of_few_candidates_is_that_of_all_wherever_it_is_computed(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = all_scores(llama, "logprob")
    monkeypatch.setattr(rankers, "CANDIDATES", 6)
    found = top_neurons(llama, IDS, PROMPT, top_k=6, ranker="logprob")
    for layer in range(llama.n_layers):
        own = exact[layer].gather(1, torch.from_numpy(found.neuron[:, layer]).long())
        np.testing.assert_allclose(found.score[:, layer], own, rtol=1e-4, atol=1e-5)
    assert top_neurons(llama, IDS, PROMPT, top_k=20, ranker="logprob").neuron.shape[2] == 20, "K above the candidates"


def test_logprob_does_not_depend_on_how_its_work_is_cut(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from cotlens.capture import writing

    whole = top_neurons(llama, IDS, PROMPT, 10, "logprob")
    monkeypatch.setattr(writing, "LOGITS_AT_ONCE", 5 * 400)
    monkeypatch.setattr(writing, "_LOGITS_IN_CACHE", 3 * 400)
    cut = top_neurons(llama, IDS, PROMPT, 10, "logprob")
    np.testing.assert_allclose(cut.score, whole.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ranker", ["dla", "logprob"])
def test_where_norms_follow_the_sums_the_ranker_is_refused(
    make_lm: Callable[[str], LanguageModel], ranker: str
) -> None:
    lm = make_lm("opt-350m")
    with pytest.raises(ModelFormatError, match=r"no norm follows the last layer.*use the ranker"):
        top_neurons(lm, IDS, PROMPT, 5, ranker)
    for usable in ("norm", "signed", "grad"):
        assert top_neurons(lm, IDS, PROMPT, 5, usable).steps == STEPS


@pytest.mark.parametrize("ranker", ["dla", "logprob"])
def test_its_hooks_change_no_bit_of_the_logits(any_lm: LanguageModel, ranker: str) -> None:
    if any_lm.name == NORM_AFTER_SUM:
        pytest.skip("no neuron has a part of its own")
    plain = forward(any_lm)
    with torch.inference_mode(), record_residuals(any_lm, 5, RANKERS[ranker]) as recorder:
        recorder.positions, recorder.targets = torch.tensor(list(POSITIONS)), torch.tensor(IDS[PROMPT:])
        watched = forward(any_lm)
        assert recorder.take().steps == STEPS
    assert watched.equal(plain)
    assert forward(any_lm).equal(plain), "nothing of it is left"


@pytest.mark.parametrize("ranker", RANKERS)
def test_every_ranker_leaves_the_model_as_it_was(lm: LanguageModel, ranker: str) -> None:
    plain = forward(lm)
    weights = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    attention = lm.model.config._attn_implementation
    top_neurons(lm, IDS, PROMPT, 5, ranker)
    assert all(tensor.equal(weights[name]) for name, tensor in lm.model.state_dict().items())
    assert all(parameter.grad is None for parameter in lm.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())
    assert lm.model.config._attn_implementation == attention
    assert forward(lm).equal(plain)


@pytest.mark.parametrize("ranker", RANKERS)
def test_hooks_are_gone_after_an_error(llama: LanguageModel, ranker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("stop here")

    with monkeypatch.context() as patch:
        patch.setattr(type(llama.model.model.layers[2].mlp), "forward", fail)
        with pytest.raises(RuntimeError, match="stop here"):
            top_neurons(llama, IDS, PROMPT, 5, ranker)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama.model.modules())
    assert llama.model.config._attn_implementation != "cotlens_own_position"


@pytest.mark.parametrize("ranker", RANKERS)
def test_works_within_inference_mode_and_in_bfloat16(make_lm: Callable[[str], LanguageModel], ranker: str) -> None:
    lm = make_lm("llama")
    exact = top_neurons(lm, IDS, PROMPT, 5, ranker)
    lm.model.bfloat16()
    with torch.inference_mode():
        rounded = top_neurons(lm, IDS, PROMPT, 5, ranker)
    assert rounded.score.dtype == np.float32
    np.testing.assert_allclose(rounded.score[..., 0], exact.score[..., 0], rtol=0.3, atol=0.3)


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize("damage", ["down_projection", "gate"])
def test_weights_that_are_not_numbers_are_named_by_layer(
    make_lm: Callable[[str], LanguageModel], ranker: str, damage: str
) -> None:
    lm = make_lm("llama")
    mlp = lm.model.model.layers[1].mlp
    with torch.no_grad():
        (mlp.down_proj.weight[:, 7] if damage == "down_projection" else mlp.gate_proj.weight[7]).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="layer 1"):
        top_neurons(lm, IDS, PROMPT, 5, ranker)


@pytest.mark.parametrize("ranker", RANKERS)
def test_minus_infinity_does_not_hide_at_the_end_of_the_order(
    make_lm: Callable[[str], LanguageModel], ranker: str
) -> None:
    lm = make_lm("llama")
    with torch.no_grad():
        lm.model.model.layers[2].mlp.down_proj.weight[:, 7] = -float("inf")
    with pytest.raises(NonFiniteError, match="layer 2"):
        top_neurons(lm, IDS, PROMPT, 5, ranker)


@pytest.mark.parametrize("ranker", RANKERS)
def test_k_may_be_the_width_and_no_more(llama: LanguageModel, ranker: str) -> None:
    assert top_neurons(llama, IDS, PROMPT, 48, ranker).neuron.shape == (STEPS, 3, 48)
    for top_k in (0, -1, 49):
        with pytest.raises(InputError, match=rf"top_k is {top_k}; tiny-llama has 48 neurons per layer"):
            top_neurons(llama, IDS, PROMPT, top_k, ranker)


def test_a_new_ranker_is_one_entry(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    last: list[int] = []

    def alphabetical(layer: rankers.LayerTrace) -> Tensor:
        last.append(layer.top_k)
        return -torch.arange(layer.coefficient.shape[1]).float().expand_as(layer.coefficient)

    for needs in ("coefficients", "residuals", "gradients"):
        monkeypatch.setitem(RANKERS, "alphabetical", rankers.Ranker(needs, alphabetical))
        found = top_neurons(llama, IDS, PROMPT, 4, "alphabetical")
        assert (found.neuron == np.arange(4)).all()
    assert last == [4] * 9


def test_every_ranker_names_its_source() -> None:
    for ranker in RANKERS.values():
        assert "Source: " in (ranker.score.__doc__ or "")


def test_a_misspelt_ranker_is_told_the_nearest(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match="ranker 'logprop' is not known; did you mean 'logprob'"):
        top_neurons(llama, IDS, PROMPT, 5, "logprop")


@pytest.mark.parametrize("ranker", RANKERS)
def test_texts_of_one_step_and_prompts_of_one_token(lm: LanguageModel, ranker: str) -> None:
    assert top_neurons(lm, IDS[:2], 1, 5, ranker).steps == 1
    assert top_neurons(lm, IDS[:9], 8, 5, ranker).steps == 1
    assert top_neurons(lm, IDS, 1, 5, ranker).steps == len(IDS) - 1
    for ids, prompt_length in (([5], 1), (IDS, len(IDS)), (IDS, len(IDS) + 1), (IDS, 0), ([], 0)):
        with pytest.raises(InputError, match="the prompt needs at least one token"):
            top_neurons(lm, ids, prompt_length, 5, ranker)


@pytest.mark.parametrize("ranker", RANKERS)
def test_an_unembedding_wider_than_the_tokenizer(make_lm: Callable[[str], LanguageModel], ranker: str) -> None:
    lm = make_lm("llama")
    lm.model.resize_token_embeddings(437, mean_resizing=False)
    assert len(lm.tokenizer) < 437
    found = top_neurons(lm, [3, 430, 436, 5, 431], 2, 5, ranker)
    assert found.steps == 3
    assert np.isfinite(found.score).all()
    with pytest.raises(InputError, match="ids 0 to 436"):
        top_neurons(lm, [3, 437], 1, 5, ranker)


def test_a_text_beyond_the_context_is_refused(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("gpt2")
    with pytest.raises(InputError, match="2049 tokens long; tiny-gpt2 reads at most 2048"):
        top_neurons(lm, [5] * 2050, 10, 5)
    assert top_neurons(lm, [5] * 2049, 2048, 5).steps == 1


@pytest.mark.parametrize("ranker", RANKERS)
def test_what_follows_a_shared_prefix_is_read_as_alone(lm: LanguageModel, ranker: str) -> None:
    from cotlens.capture import Passage, open_reader
    from cotlens.model.shared_prefix import compute_prefix

    passages = [Passage(IDS, 17), Passage([*IDS[:8], 3, 4, 5, 6], 10), Passage([*IDS[:8], 11, 12], 9)]
    with open_reader(lm, 5, ranker) as reader:
        together = reader.read(compute_prefix(lm, IDS[:8]), passages)
        alone = [reader.read_alone(passage) for passage in passages]
    np.testing.assert_allclose(together.score, np.concatenate([top.score for top in alone]), rtol=2e-3, atol=2e-4)
    same = together.neuron == np.concatenate([top.neuron for top in alone])
    assert same.mean() > 0.99, "near-ties may change places by rounding"


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_text_shows_the_same_neurons_in_any_batch_and_order(lm: LanguageModel, size: int, reordered: bool) -> None:
    from cotlens.capture import Passage, open_reader
    from cotlens.model.shared_prefix import compute_prefix

    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(1, 390, (n,), generator=generator).tolist() for n in (30, 7, 29, 5, 13, 21, 34, 6, 9)]
    passages = [Passage([*ids[0], *own], 30 + len(own) - 4) for own in ids[1:]]
    passages = passages[::-1] if reordered else passages
    with open_reader(lm, 6, "norm") as reader:
        prefix = compute_prefix(lm, ids[0])
        batches = [reader.read(prefix, passages[start : start + size]) for start in range(0, 8, size)]
        alone = [reader.read_alone(passage) for passage in passages]
    neuron, coefficient = (
        [np.concatenate([getattr(top, name) for top in some]) for some in (batches, alone)]
        for name in ("neuron", "coefficient")
    )
    assert len(set(neuron[1].ravel())) > 40, "the texts differ in them"
    np.testing.assert_array_equal(*neuron)
    np.testing.assert_allclose(*coefficient, rtol=1e-4)


def test_a_forward_pass_that_fails_leaves_nothing_for_the_next(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cotlens.capture import Passage, open_reader
    from cotlens.model.shared_prefix import compute_prefix

    passage = Passage(IDS, PROMPT)
    with open_reader(llama, 5, "dla") as reader:
        expected = reader.read_alone(passage)
        with monkeypatch.context() as patch:
            patch.setattr(Encoding, "run", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                reader.read(compute_prefix(llama, []), [passage])
        np.testing.assert_array_equal(reader.read_alone(passage).neuron, expected.neuron)
