import sys

import pytest
import torch

from cotlens import LanguageModel, generate
from cotlens.errors import EnvironmentFault, InputError

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


def test_out_of_memory_halves_the_batch_and_loses_nothing(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    expected = generate(llama, prompts, max_new_tokens=6)
    real, sizes = engine._run_batch, []

    def run_batch(lm, prefix, rows, *rest):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("simulated")
        return real(lm, prefix, rows, *rest)

    monkeypatch.setattr(engine, "_run_batch", run_batch)
    assert generate(llama, prompts, max_new_tokens=6, batch_size=4) == expected
    assert sizes == [4, 2, 2]


def test_out_of_memory_with_one_prompt_names_its_length(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    def run_batch(*_: object) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(engine, "_run_batch", run_batch)
    length = len(llama.encode(prompts[0]))
    with pytest.raises(EnvironmentFault, match=rf"one prompt of {length} tokens.*max_new_tokens"):
        generate(llama, prompts[:1], max_new_tokens=4, batch_size=1)
