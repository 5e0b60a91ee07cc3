import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from cotlens import LanguageModel
from cotlens.capture import capture_top_neurons, select_top_k
from cotlens.errors import InputError, NonFiniteError


def hooks(lm: LanguageModel) -> int:
    return sum(len(ffn.down_projection._forward_pre_hooks) for ffn in lm.ffn)


def test_the_best_come_first_and_ties_go_by_index() -> None:
    score = torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    assert select_top_k(score, 2).tolist() == [[1, 2], [0, 1], [0, 1]]
    assert select_top_k(score, 5).tolist() == [[1, 2, 4, 0, 3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_shapes_are_checked_in_tests() -> None:
    with pytest.raises(TypeCheckError):
        select_top_k(torch.ones(5), 2)


def test_top_k_equals_a_stable_sort_on_many_ties() -> None:
    score = torch.randint(0, 4, (200, 40), generator=torch.Generator().manual_seed(0)).float()
    expected = score.sort(dim=1, descending=True, stable=True).indices
    for k in (1, 7, 40):
        assert select_top_k(score, k).equal(expected[:, :k])


def test_the_forward_pass_is_bit_identical_with_and_without_hooks(lm: LanguageModel) -> None:
    ids = torch.arange(1, 40)[None]
    with torch.inference_mode():
        plain = lm.model(ids).logits
        with capture_top_neurons(lm, 5) as recorder:
            recorder.positions = torch.arange(39)
            hooked = lm.model(ids).logits
            assert recorder.take().neuron.shape == (39, 3, 5)
        after = lm.model(ids).logits
    assert plain.equal(hooked)
    assert plain.equal(after)


def test_hooks_are_gone_after_an_error(lm: LanguageModel) -> None:
    def fail() -> None:
        with capture_top_neurons(lm, 5):
            assert hooks(lm) == 3
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fail()
    assert hooks(lm) == 0


def test_more_steps_than_are_scored_at_a_time_come_out_whole_and_in_order(lm: LanguageModel) -> None:
    ids = torch.randint(1, 200, (3, 100), generator=torch.Generator().manual_seed(0))
    inputs: list[torch.Tensor] = []
    keep = lm.ffn[1].down_projection.register_forward_pre_hook(lambda _, given: inputs.append(given[0].flatten(0, 1)))
    with capture_top_neurons(lm, 5) as recorder, torch.inference_mode():
        recorder.positions = torch.arange(300).flip(0)
        lm.model(ids)
        found = recorder.take()
    keep.remove()
    expected = (inputs[0].flip(0).abs() * lm.ffn[1].value_norms()).topk(5, dim=1)
    np.testing.assert_array_equal(found.neuron[:, 1], expected.indices.numpy())
    np.testing.assert_array_equal(found.score[:, 1], expected.values.numpy())


def test_nothing_is_recorded_without_positions(llama: LanguageModel) -> None:
    with capture_top_neurons(llama, 5) as recorder:
        llama.model(torch.tensor([[1, 2, 3]]))
        recorder.positions = torch.tensor([2])
        llama.model(torch.tensor([[1, 2, 3]]))
        assert recorder.take().steps == 1


def test_the_order_of_positions_is_kept(llama: LanguageModel) -> None:
    with capture_top_neurons(llama, 5) as recorder:
        recorder.positions = torch.tensor([2, 0])
        llama.model(torch.tensor([[1, 2, 3]]))
        backwards = recorder.take()
        recorder.positions = torch.tensor([0, 2])
        llama.model(torch.tensor([[1, 2, 3]]))
        forwards = recorder.take()
    np.testing.assert_array_equal(backwards.coefficient, forwards.coefficient[::-1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_names_its_layer(llama: LanguageModel, value: float) -> None:
    weight = llama.ffn[1].down_projection.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[:, 7] = value
    try:
        with capture_top_neurons(llama, 5) as recorder:
            recorder.positions = torch.tensor([1])
            llama.model(torch.tensor([[1, 2]]))
            with pytest.raises(NonFiniteError, match="layer 1"):
                recorder.take()
    finally:
        with torch.no_grad():
            weight.copy_(before)


@pytest.mark.parametrize(("top_k", "ranker"), [(0, "norm"), (49, "norm"), (5, "nrom")])
def test_a_wrong_option_is_refused_before_any_hook(llama: LanguageModel, top_k: int, ranker: str) -> None:
    with pytest.raises(InputError), capture_top_neurons(llama, top_k, ranker):
        pass
    assert hooks(llama) == 0
