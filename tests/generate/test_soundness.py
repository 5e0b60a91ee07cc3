"""Numbers that are none: no token is made of them, and the error says where they come from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cotlens import LanguageModel, Noise, RunConfig, Scale, Zero, generate
from cotlens.data import load_problems
from cotlens.errors import NonFiniteError
from cotlens.generate.soundness import likeliest
from cotlens.generate.stage import generate_stage
from cotlens.store import RunWriter
from cotlens.types import Silent

INF, NAN = float("inf"), float("nan")
EVERY = [(1, neuron) for neuron in range(48)]


@pytest.mark.parametrize(
    ("row", "token"),
    [
        ([1.0, 3.0, 2.0], 1),
        ([1.0, -INF, 2.0], 2),
        ([1.0, 3.0, 3.0], 1),
        ([1.0, NAN, 2.0], None),
        ([NAN, NAN, NAN], None),
        ([1.0, INF, 2.0], None),
        ([-INF, -INF, -INF], None),
        ([0.0, 0.0, 0.0], None),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_token_is_told_by_finite_logits_that_differ(row: list[float], token: int | None, dtype: torch.dtype) -> None:
    tokens, sound = likeliest(torch.tensor([[0.0, 1.0, 0.5], row], dtype=dtype))
    assert tokens[0] == 1
    assert sound.tolist() == [True, token is not None]
    if token is not None:
        assert tokens[1] == token


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom"])
def test_a_weight_that_is_not_finite_is_named_by_layer(
    make_lm: Callable[[str], LanguageModel], prompts: tuple[str, ...], architecture: str
) -> None:
    lm = make_lm(architecture)
    with torch.no_grad():
        lm.ffn[1].down_projection.weight[5, 7] = NAN
    with pytest.raises(NonFiniteError, match=r"^prompt 0: after 0 new tokens .* are not finite .* from layer 1 on"):
        generate(lm, prompts, max_new_tokens=4, stop=())


def test_what_goes_wrong_later_is_told_with_the_tokens_until_then(
    make_lm: Callable[[str], LanguageModel], prompts: tuple[str, ...]
) -> None:
    lm = make_lm("llama")
    written = generate(lm, prompts, max_new_tokens=8, stop=())
    new = written[3].token_ids[4]
    seen = {token for done in written for token in (*done.prompt_ids, *done.token_ids[:4])}
    assert new not in seen, "it is a token that no prompt read before"
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[new] = INF
    with pytest.raises(NonFiniteError, match=r"^prompt \d: after 5 new tokens .* from layer 0 on"):
        generate(lm, prompts, max_new_tokens=8, stop=())


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_intervention_that_overflows_is_named(
    llama: LanguageModel, prompts: tuple[str, ...], batch_size: int
) -> None:
    expected = generate(llama, prompts, max_new_tokens=6, stop=())
    strong = [Zero([(0, 3)]), Scale(EVERY, 1e18), Noise(EVERY, sigma=1e18, seed=5)]
    each = [(), (), strong, ()]
    with pytest.raises(NonFiniteError) as raised:
        generate(llama, prompts, 6, (), batch_size, interventions=each)
    said = str(raised.value)
    assert said.startswith("prompt 2: after 0 new tokens the model's numbers overflow, from layer 1 on, under the ")
    assert (
        "Zero(dose=1.0) on 1 neurons and Scale(factor=1e+18) on 48 neurons and Noise(sigma=1e+18, seed=5) on 48" in said
    )
    assert said.endswith("use a weaker one (intervene.edits, doses)")
    assert generate(llama, prompts, 6, (), batch_size) == expected
    assert all(not ffn.down_projection._forward_hooks for ffn in llama.ffn)


@pytest.mark.parametrize("sigma", [1e30, 3e38, INF])
def test_a_change_too_large_to_add_is_refused_before_it_is_multiplied_with_zero(
    llama: LanguageModel, prompts: tuple[str, ...], sigma: float
) -> None:
    each = [(), (Noise([(0, 1), (1, 3)], sigma=sigma),), (), ()]
    with pytest.raises(
        NonFiniteError, match=r"^L0N1: what Noise adds .* use a weaker intervention \(intervene.edits, doses\)"
    ):
        generate(llama, prompts, max_new_tokens=4, interventions=each)


def test_the_stage_names_variant_and_question_and_stores_none_of_it(
    make_lm: Callable[[str], LanguageModel], tmp_path: Path
) -> None:
    lm = make_lm("llama")
    with torch.no_grad():
        lm.ffn[2].down_projection.weight[0, 0] = INF
    config = RunConfig.model_validate(
        {"problems": {"limit": 2}, "prompt": {"variants": ["cot"], "shots": 1}, "generate": {"max_new_tokens": 4}}
    )
    problems = load_problems(config.problems)
    with RunWriter.open(tmp_path / "run", config) as run:
        run.begin("generate", "key")
        with pytest.raises(NonFiniteError, match=f"^variant 'cot', question '{problems[0].id}': after 0 .*layer 2"):
            generate_stage(run, lm, problems, Silent())
    assert not list((tmp_path / "run").glob("completions/*"))
