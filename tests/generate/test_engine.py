import sys
from collections.abc import Sized

import pytest
import torch

from cotlens import LanguageModel, Noise, Zero, generate, intervene
from cotlens.errors import EnvironmentFault, InputError
from cotlens.model.shared_prefix import RowBatch

engine = sys.modules["cotlens.generate.engine"]


def alone(lm: LanguageModel, prompt: str, max_new_tokens: int) -> list[int]:
    """What transformers generates for this prompt by itself, unpadded, without the end token."""
    ids = torch.tensor([lm.encode(prompt)])
    out = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0
    )[0, ids.shape[1] :].tolist()
    return out[:-1] if out[-1] in lm.stop_ids else out


def test_tokens_are_those_of_each_prompt_alone(lm: LanguageModel, prompts: tuple[str, ...]) -> None:
    for prompt, done in zip(prompts, generate(lm, prompts, max_new_tokens=20, stop=()), strict=True):
        assert list(done.token_ids) == alone(lm, prompt, 20)
        assert list(done.prompt_ids) == lm.encode(prompt)
        assert done.text == lm.decode(list(done.token_ids))


@pytest.mark.parametrize("batch_size", [1, 3, 8, None])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_batch_size_and_order_change_nothing(
    lm: LanguageModel, batch_size: int | None, order: tuple[int, ...], prompts: tuple[str, ...]
) -> None:
    expected = generate(lm, prompts, max_new_tokens=12, stop=(), batch_size=1)
    done = generate(lm, [prompts[place] for place in order], max_new_tokens=12, stop=(), batch_size=batch_size)
    assert done == [expected[place] for place in order]


def test_prompts_may_be_token_ids(llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    ids = llama.encode(prompts[0])
    assert generate(llama, [ids], max_new_tokens=5) == generate(llama, [prompts[0]], max_new_tokens=5)


def test_prompts_with_nothing_in_common_are_right_too(llama: LanguageModel) -> None:
    prompts = ("Alpha 12", "Question: seven and nine", "Zebra")
    for prompt, done in zip(prompts, generate(llama, prompts, max_new_tokens=8, stop=()), strict=True):
        assert list(done.token_ids) == alone(llama, prompt, 8)


def test_no_prompts_give_no_completions(llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    assert generate(llama, []) == []


def test_progress_counts_every_completion_once(llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    counts: list[int] = []
    generate(llama, prompts, max_new_tokens=6, batch_size=3, on_progress=counts.append)
    assert sum(counts) == len(prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": [""]}, "prompt 0 is empty"),
        ({"prompts": ["a"], "max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"prompts": ["a"], "batch_size": 0}, "batch_size is 0"),
        ({"prompts": ["ok", "word " * 3000]}, r"prompt 1 has \d+ tokens.*context of 2048"),
    ],
)
def test_bad_input_is_named(llama: LanguageModel, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(llama, **options)  # type: ignore[arg-type]


def test_a_row_that_ends_makes_room_for_the_next(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    many = [prompt + " x" * extra for prompt in prompts for extra in range(4)]
    stops = [llama.decode(list(done.token_ids))[2:4] for done in generate(llama, many, max_new_tokens=9, stop=())]
    expected = [generate(llama, [prompt], max_new_tokens=9, stop=stops[:3])[0] for prompt in many]
    assert len({len(done.token_ids) for done in expected}) > 1, "they end at different steps"
    rows: list[int] = []
    real = RowBatch.append

    def append(batch: RowBatch, ids: torch.Tensor) -> torch.Tensor:
        rows.append(len(batch))
        return real(batch, ids)

    monkeypatch.setattr(RowBatch, "append", append)
    assert generate(llama, many, max_new_tokens=9, stop=stops[:3], batch_size=4) == expected
    assert max(rows) == 4
    waiting_is_over = len(rows) - rows[::-1].index(4)
    assert set(rows[:waiting_is_over]) == {4}, "no place stays empty while prompts wait"


def test_each_prompt_has_its_own_intervention(lm: LanguageModel, prompts: tuple[str, ...]) -> None:
    none, noise, zero = (), (Noise([(0, 3), (1, 40), (1, 7)], sigma=4.0),), (Zero([(n, 5) for n in range(3)]),)
    conditions = [none, noise, zero, none]
    expected = []
    for prompt, edits in zip(prompts, conditions, strict=True):
        with intervene(lm, edits):
            expected += generate(lm, [prompt], max_new_tokens=12, stop=())
    for batch_size in (1, 2, 4):
        assert generate(lm, prompts, 12, (), batch_size, interventions=conditions) == expected
    plain = generate(lm, prompts, max_new_tokens=12, stop=())
    assert plain[1] != expected[1], "the noise has an effect"
    assert all(not ffn.down_projection._forward_hooks for ffn in lm.ffn)


def test_many_draws_in_one_call_are_those_of_many_calls(llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    draws = [(Noise([(1, 7), (2, 30)], sigma=5.0, seed=seed),) for seed in range(16)]
    separate = []
    for edits in draws:
        with intervene(llama, edits):
            separate += generate(llama, prompts[:2], max_new_tokens=10, stop=())
    each = [edits for edits in draws for _ in range(2)]
    assert generate(llama, [*prompts[:2]] * 16, 10, (), interventions=each) == separate


def test_prompts_of_one_intervention_end_before_those_of_the_next_begin(
    llama: LanguageModel, prompts: tuple[str, ...]
) -> None:
    edits = [(Zero([(0, n)]),) for n in range(3)]
    each = [edits[n] for n in (2, 0, 1) for _ in prompts]
    ids = [llama.encode(prompt) for prompt in prompts] * 3
    order = [index for index, _ in engine.complete(llama, ids, 6, (), 4, each)]
    assert [index // 4 for index in order] == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("interventions", [[()], [(Zero([(9, 0)]),)] * 2])
def test_a_wrong_intervention_is_told(llama: LanguageModel, interventions: list[object]) -> None:
    with pytest.raises(InputError, match=r"1 interventions for 2 prompts|layer 9 is out of range"):
        generate(llama, ["a b", "a c"], interventions=interventions)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["begin", "append"])
def test_out_of_memory_halves_the_batch_and_loses_nothing(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...], method: str
) -> None:
    expected = generate(llama, prompts, max_new_tokens=6, stop=())
    real, sizes = getattr(RowBatch, method), []

    def limited(batch: RowBatch, rows: Sized, *rest: object) -> torch.Tensor:
        sizes.append(len(rows))
        if len(rows) > 2 and len(sizes) != 2:  # the second time it goes well, then no more
            raise torch.OutOfMemoryError("simulated")
        return real(batch, rows, *rest)

    monkeypatch.setattr(RowBatch, method, limited)
    counts: list[int] = []
    assert generate(llama, prompts, 6, (), batch_size=4, on_progress=counts.append) == expected
    assert sizes[0] == 4
    assert max(sizes[2:]) == 2
    assert sum(counts) == 4, "no row is lost or doubled"


def test_out_of_memory_with_one_prompt_names_its_length(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(RowBatch, "begin", fail)
    length = len(llama.encode(prompts[0]))
    with pytest.raises(EnvironmentFault, match=rf"one prompt of {length} tokens.*max_new_tokens"):
        generate(llama, prompts[:1], max_new_tokens=4, batch_size=1)


def test_another_error_is_not_taken_for_lack_of_memory(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(RowBatch, "begin", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generate(llama, ["a b"], max_new_tokens=4)
