from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, Gemma3nTextConfig

from cotlens import LanguageModel
from cotlens.errors import ModelFormatError
from cotlens.model.additive import Term
from cotlens.model.attention_interface import uses_attention_interface
from cotlens.model.shared_prefix import Prefixes, RowBatch, common_prefix_length, compute_prefix


def texts(prefix: int) -> tuple[list[int], list[list[int]]]:
    """A common beginning and three continuations of different lengths, longer than the sliding window."""
    generator = torch.Generator().manual_seed(1)
    shared = torch.randint(1, 300, (prefix,), generator=generator).tolist()
    return shared, [torch.randint(1, 300, (n,), generator=generator).tolist() for n in (25, 4, 1)]


def plain_logits(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return lm.model(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize(
    ("sequences", "length"),
    [([], 0), ([[1, 2, 3]], 2), ([[1, 2, 3], [1, 2, 4]], 2), ([[1, 2], [1, 2]], 1), ([[5], [6, 7]], 0)],
)
def test_the_common_beginning_leaves_each_text_a_token(sequences: list[list[int]], length: int) -> None:
    assert common_prefix_length(sequences) == length


def test_a_row_does_not_depend_on_its_neighbours(lm: LanguageModel) -> None:
    shared, suffixes = texts(30)
    prefixes = Prefixes(lm, shared)
    together = RowBatch(lm, prefixes, 3, 25).begin(suffixes, [0, 0, 0])
    alone = torch.cat([RowBatch(lm, prefixes, 1, 25).begin([suffix], [0]) for suffix in suffixes])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_rows_that_join_later_are_as_if_alone(lm: LanguageModel) -> None:
    shared, (first, second, third) = texts(30)
    batch = RowBatch(lm, Prefixes(lm, shared), slots=3, columns=27)
    batch.begin([third, first], [0, 0])
    batch.append(torch.tensor([5, 6]))
    assert batch.drop([0]) == [1]
    assert batch.takes_more
    torch.testing.assert_close(
        batch.begin([second], [0])[0], plain_logits(lm, shared + second)[-1], rtol=1e-4, atol=1e-4
    )
    logits = batch.append(torch.tensor([7, 8]))
    for row, ids in zip(logits, ([*first, 6, 7], [*second, 8]), strict=True):
        torch.testing.assert_close(row, plain_logits(lm, shared + ids)[-1], rtol=1e-4, atol=1e-4)


def test_a_row_that_is_not_finite_spoils_none_that_takes_its_place(llama: LanguageModel) -> None:
    shared, (first, second, third) = texts(30)
    broken = Term(torch.arange(48), torch.full((48, llama.d_model), 3e38))
    batch = RowBatch(llama, Prefixes(llama, shared, [{}, {1: broken}]), slots=2, columns=30)
    assert batch.begin([second, first], [0, 1]).isfinite().all(dim=1).tolist() == [True, False]
    batch.drop([1])
    batch.begin([third], [0])
    for row, text in zip(batch.append(torch.tensor([7, 8])), ([*second, 7], [*third, 8]), strict=True):
        torch.testing.assert_close(row, plain_logits(llama, shared + text)[-1], rtol=1e-4, atol=1e-4)


def test_the_prefix_is_run_once_for_each_group_and_held_once(llama: LanguageModel) -> None:
    shared, suffixes = texts(30)
    runs: list[int] = []
    hook = llama.ffn[0].down_projection.register_forward_pre_hook(lambda _, inputs: runs.append(inputs[0].shape[1]))
    prefixes = Prefixes(llama, shared, [{}, {}])
    batch = RowBatch(llama, prefixes, slots=3, columns=26)
    batch.begin(suffixes, [0, 1, 0])
    batch.append(torch.tensor([1, 2, 3]))
    hook.remove()
    assert runs == [30, 30, 25 + 4 + 1, 3], "two prefixes, then the suffixes packed, then one token per row"
    assert prefixes.of(0).keys[0].shape[:3] == (1, 2, 30)


def test_the_models_own_attention_is_back_even_after_an_error(llama: LanguageModel) -> None:
    before = llama.model.config._attn_implementation
    batch = RowBatch(llama, Prefixes(llama, [1, 2]), slots=1, columns=3)
    batch.begin([[3, 4]], [0])

    def fail(*_: object) -> None:
        assert llama.model.config._attn_implementation != before
        raise RuntimeError("stop here")

    handle = llama.ffn[1].down_projection.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="stop here"):
        batch.append(torch.tensor([5]))
    handle.remove()
    assert llama.model.config._attn_implementation == before


@pytest.mark.parametrize("architecture", ["llama", "falcon", "falcon-alibi", "bloom"])
def test_asking_for_the_interface_fires_no_hook_and_leaves_none(make_lm, architecture: str) -> None:
    lm = make_lm(architecture)
    own = lm.model.config._attn_implementation

    def fail(*_: object) -> None:
        raise AssertionError("a hook fired")

    for ffn in lm.ffn:
        ffn.down_projection.register_forward_pre_hook(fail)
    assert lm.shares_prefix == (architecture == "llama")
    assert lm.model.config._attn_implementation == own
    assert {len(ffn.down_projection._forward_pre_hooks) for ffn in lm.ffn} == {1}


@pytest.mark.parametrize(
    ("more", "understood"),
    [({}, True), ({"s_aux": torch.zeros(4)}, False), ({"attention_mask": torch.zeros(1, 1, 1, 1)}, False)],
    ids=["plain", "sinks", "its own mask"],
)
def test_attention_that_depends_on_more_is_left_alone(make_lm, more: dict[str, Tensor], understood: bool) -> None:
    lm = make_lm("llama")

    class Attention(nn.Module):
        layer_idx = 0

        def forward(self, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
            function = AttentionInterface()[lm.model.config._attn_implementation]
            states = hidden_states.view(1, 1, 4, 8).transpose(1, 2)
            return function(self, states, states, states, **{"attention_mask": None} | more)[0], None

    lm.model.model.layers[0].self_attn = Attention()
    assert uses_attention_interface(lm.model, lm.ffn[0].down_projection) == understood


def test_attention_in_chunks_is_left_alone(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uses_attention_interface(llama.model, llama.ffn[0].down_projection)
    monkeypatch.setattr(llama.model.config, "attention_chunk_size", 8, raising=False)
    assert not uses_attention_interface(llama.model, llama.ffn[0].down_projection)


def test_layers_that_use_each_others_keys_are_refused(llama: LanguageModel) -> None:
    config = Gemma3nTextConfig(
        vocab_size=50, vocab_size_per_layer_input=50, hidden_size=16, hidden_size_per_layer_input=8, laurel_rank=4,
        intermediate_size=24, num_hidden_layers=4, num_kv_shared_layers=2, layer_types=["full_attention"] * 4,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    lm = LanguageModel(AutoModelForCausalLM.from_config(config), llama.tokenizer, name="tiny")
    with pytest.raises(ModelFormatError, match="tiny: not every layer keeps keys and values of its own"):
        compute_prefix(lm, [1, 2, 3])
