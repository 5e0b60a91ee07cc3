import pytest
import torch

from cotlens import LanguageModel
from cotlens.model.additive import RowTerms, Term, added_to_all

IDS = torch.arange(1, 13).view(3, 4)


def term(*neurons: int, constant: bool = False) -> Term:
    generator = torch.Generator().manual_seed(sum(neurons))
    change = torch.randn(len(neurons), 32, generator=generator)
    return Term(torch.tensor(neurons), change, torch.randn(32, generator=generator) if constant else None)


def logits(lm: LanguageModel, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        return lm.model(ids).logits


def test_a_term_adds_what_it_says(llama: LanguageModel) -> None:
    some = term(3, 7, constant=True)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    with added_to_all(llama, {1: some}):
        handle = llama.ffn[1].down_projection.register_forward_hook(lambda _, x, y: seen.append((x[0], y)))
        logits(llama)
        handle.remove()
    [(coefficients, output)] = seen
    expected = coefficients @ llama.ffn[1].value_vectors + coefficients[..., [3, 7]] @ some.change + some.constant
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("constant", [False, True])
def test_every_row_has_the_terms_of_its_group(llama: LanguageModel, constant: bool) -> None:
    groups = [{}, {0: term(3, 7), 2: term(1, constant=constant)}, {0: term(7, 9, constant=constant)}]
    rows = RowTerms(llama, groups)
    of_row = [1, 0, 2]
    with rows.added(of_row):
        together = logits(llama)
    for row, group in enumerate(of_row):
        with added_to_all(llama, groups[group]):
            torch.testing.assert_close(together[row], logits(llama)[row], rtol=1e-4, atol=1e-4)


def test_rows_of_a_group_without_terms_keep_every_bit(llama: LanguageModel) -> None:
    plain = logits(llama)
    with RowTerms(llama, [{}, {1: term(3)}]).added([0, 1, 0]):
        mixed = logits(llama)
    assert mixed[[0, 2]].equal(plain[[0, 2]])
    assert not torch.allclose(mixed[1], plain[1])


def test_no_hook_stays(llama: LanguageModel) -> None:
    with pytest.raises(RuntimeError, match="stop"), RowTerms(llama, [{0: term(1)}, {1: term(2)}]).added([0, 1, 1]):
        raise RuntimeError("stop")
    assert not any(ffn.down_projection._forward_hooks for ffn in llama.ffn)
