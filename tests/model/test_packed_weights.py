import pytest
import torch

from cotlens import LanguageModel, generate
from cotlens.model import packed_weights
from cotlens.model.packed_weights import PackedWeights
from cotlens.model.shared_prefix import Prefixes, RowBatch

pytestmark = pytest.mark.skipif(packed_weights._order is None, reason="this build of torch can't order weights")


def logits(lm: LanguageModel, packed: PackedWeights | None) -> torch.Tensor:
    batch = RowBatch(lm, Prefixes(lm, [5, 6, 7]), slots=2, columns=4, packed=packed)
    first = batch.begin([[1, 2], [3]], [0, 0])
    return torch.cat([first, batch.append(torch.tensor([8, 9]))])


def test_the_numbers_are_those_of_the_plain_product(any_lm: LanguageModel) -> None:
    packed = PackedWeights.of(any_lm, rows=2)
    assert packed is not None
    plain = logits(any_lm, None)
    assert (logits(any_lm, packed) - plain).abs().max() < 1e-5 * plain.abs().max()


def test_afterwards_the_layers_are_as_they_were_even_after_an_error(llama: LanguageModel) -> None:
    plain = logits(llama, None)
    packed = PackedWeights.of(llama, rows=2)
    assert packed is not None
    with packed.used():
        assert "forward" in llama.ffn[0].down_projection.__dict__
    with pytest.raises(RuntimeError, match="stop here"), packed.used():
        raise RuntimeError("stop here")
    assert not any("forward" in module.__dict__ for module in llama.model.modules())
    assert logits(llama, None).equal(plain)


def test_hooks_stay_in_force(llama: LanguageModel) -> None:
    seen: list[int] = []
    handle = llama.ffn[1].down_projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    logits(llama, PackedWeights.of(llama, rows=2))
    handle.remove()
    assert seen == [3, 3, 2], "prefix, suffixes, one token per row"


def test_an_edited_weight_counts_in_the_next_call(make_lm) -> None:
    lm = make_lm("llama")
    before = generate(lm, ["a b c"], max_new_tokens=40, stop=())
    for ffn in lm.ffn:
        ffn.down_projection.weight.data.neg_()
    after = generate(lm, ["a b c"], max_new_tokens=40, stop=())
    ids = torch.tensor([lm.encode("a b c")])
    plain = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
    assert list(after[0].token_ids) == plain[0, ids.shape[1] :].tolist()[: len(after[0].token_ids)]
    assert after != before


@pytest.mark.parametrize("case", ["no room", "half precision", "no such product"])
def test_where_it_cannot_be_the_plain_product_is_used(make_lm, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    lm = make_lm("llama")
    if case == "no room":
        monkeypatch.setattr(packed_weights, "free_bytes", lambda _: 1000)
    elif case == "half precision":
        lm.model.bfloat16()
    else:
        monkeypatch.setattr(packed_weights, "_multiply", None)
    assert PackedWeights.of(lm, rows=2) is None
    assert len(generate(lm, ["a b c"], max_new_tokens=33, stop=())) == 1
