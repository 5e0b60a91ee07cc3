"""What lies between blocks and logits is measured, and what is no multiple is refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.conftest import MULTIPLIERS
from torch import Tensor, nn

from cotlens import LanguageModel, top_neurons
from cotlens.capture.wiring import find_wiring
from cotlens.errors import ModelFormatError

IDS = list(range(5, 25))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_multipliers_are_measured_in_any_precision(any_lm: LanguageModel, dtype: torch.dtype) -> None:
    if any_lm.name == "tiny-opt-350m":
        pytest.skip("no norm follows its last layer")
    any_lm.model.to(dtype)
    try:
        found = find_wiring(any_lm)
    finally:
        any_lm.model.to(torch.float32)
    expected = MULTIPLIERS.get(any_lm.name, (1.0, 1.0))
    measured = found.residual_multiplier, found.logit_multiplier
    if any_lm.name in MULTIPLIERS:
        assert measured == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 2e-2)
    else:
        assert measured == expected, "exactly, so that no number changes"


def test_a_model_whose_first_tokens_are_embedded_as_zeros(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("granite")
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[:50] = 0
    assert find_wiring(lm).residual_multiplier == pytest.approx(0.4)


def halve_in_the_last_layer(lm: LanguageModel) -> tuple[nn.Module, Callable[..., Any]]:
    return lm.model.model.layers[2].mlp, lambda _, __, output: 0.5 * output


def square_the_first_block(lm: LanguageModel) -> tuple[nn.Module, Callable[..., Any]]:
    return lm.model.model.layers[0].mlp, lambda _, __, output: output.square()


def square_the_logits(lm: LanguageModel) -> tuple[nn.Module, Callable[..., Any]]:
    def square(_: nn.Module, __: object, output: Any) -> Any:
        output.logits = output.logits.square()
        return output

    return lm.model, square


def change_what_the_norm_gives(lm: LanguageModel) -> tuple[nn.Module, Callable[..., Any]]:
    return lm.model.model, lambda _, __, output: _with_state(output, output.last_hidden_state.tanh())


def _with_state(output: Any, state: Tensor) -> Any:
    output.last_hidden_state = state
    return output


@pytest.mark.parametrize(
    ("change", "message", "usable"),
    [
        (halve_in_the_last_layer, "what a feed-forward block gives joins the stream changed", ("norm", "grad")),
        (square_the_first_block, "what a feed-forward block gives joins the stream changed", ("norm", "grad")),
        (square_the_logits, "its logits are not a multiple of what its unembedding gives", ("norm", "signed")),
        (change_what_the_norm_gives, "its logits are not those of its final norm and unembedding", ("norm", "grad")),
    ],
)
def test_what_is_more_than_a_multiple_is_refused_by_name(
    make_lm: Callable[[str], LanguageModel],
    change: Callable[[LanguageModel], tuple[nn.Module, Callable[..., Any]]],
    message: str,
    usable: tuple[str, ...],
) -> None:
    lm = make_lm("llama")
    module, hook = change(lm)
    module.register_forward_hook(hook)
    for ranker in ("dla", "logprob"):
        with pytest.raises(ModelFormatError, match=f"tiny-llama: {message}.*use the ranker norm(,| or) signed"):
            top_neurons(lm, IDS, 10, 5, ranker)
    for ranker in usable:
        assert top_neurons(lm, IDS, 10, 5, ranker).steps == 10
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules()) == 1
