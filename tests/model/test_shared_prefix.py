import pytest
import torch

from cotlens import LanguageModel
from cotlens.model.shared_prefix import SuffixBatch, common_prefix_length, compute_prefix


def texts(lm: LanguageModel, prefix: int) -> tuple[list[int], list[list[int]]]:
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


@pytest.mark.parametrize("prefix", [0, 1, 30])
def test_every_row_equals_the_plain_unpadded_forward(lm: LanguageModel, prefix: int) -> None:
    shared, suffixes = texts(lm, prefix)
    logits = SuffixBatch(lm, compute_prefix(lm, shared), suffixes).read_suffixes()
    for row, suffix in enumerate(suffixes):
        torch.testing.assert_close(logits[row], plain_logits(lm, shared + suffix)[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("room", [0, 5])
def test_reading_on_equals_the_plain_forward_also_after_rows_left(lm: LanguageModel, room: int) -> None:
    shared, suffixes = texts(lm, 30)
    batch = SuffixBatch(lm, compute_prefix(lm, shared), suffixes, room=room)
    batch.read_suffixes()
    batch.read_token(torch.tensor([7, 8, 9]))
    batch.keep_rows(torch.tensor([0, 2]))
    logits = batch.read_token(torch.tensor([11, 13]))
    for row, ids in enumerate((suffixes[0] + [7, 11], suffixes[2] + [9, 13])):
        torch.testing.assert_close(logits[row], plain_logits(lm, shared + ids)[-1], rtol=1e-4, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours(lm: LanguageModel) -> None:
    shared, suffixes = texts(lm, 30)
    prefix = compute_prefix(lm, shared)
    together = SuffixBatch(lm, prefix, suffixes).read_suffixes()
    alone = torch.cat([SuffixBatch(lm, prefix, [suffix]).read_suffixes() for suffix in suffixes])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_models_own_attention_is_back_even_after_an_error(llama: LanguageModel) -> None:
    before = llama.model.config._attn_implementation
    batch = SuffixBatch(llama, compute_prefix(llama, [1, 2]), [[3, 4]])

    def fail(*_: object) -> None:
        assert llama.model.config._attn_implementation != before
        raise RuntimeError("stop here")

    handle = llama.ffn[1].down_projection.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="stop here"):
        batch.read_suffixes()
    handle.remove()
    assert llama.model.config._attn_implementation == before
