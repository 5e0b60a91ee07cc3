import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cotlens import LanguageModel, Noise, Zero, generate, intervene
from cotlens.errors import EnvironmentFault, InputError
from cotlens.generate.stopping import StopRule
from cotlens.model.cache import _RoomyLayer
from cotlens.model.shared_prefix import RowBatch
from cotlens.model.slots import SlotCache

engine = sys.modules["cotlens.generate.engine"]


def some_ids(length: int, seed: int) -> list[int]:
    return torch.randint(1, 390, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


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
    order = [index for index, _ in engine.complete(llama, ids, StopRule(llama, (), 6), 4, each)]
    assert [index // 4 for index in order] == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("interventions", [[()], [(Zero([(9, 0)]),)] * 2])
def test_a_wrong_intervention_is_told(llama: LanguageModel, interventions: list[object]) -> None:
    with pytest.raises(InputError, match=r"1 interventions for 2 prompts|layer 9 is out of range"):
        generate(llama, ["a b", "a c"], interventions=interventions)  # type: ignore[arg-type]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every decoding step."""
    rows: list[int] = []
    real = RowBatch.append

    def append(batch: RowBatch, ids: torch.Tensor) -> torch.Tensor:
        rows.append(len(batch))
        return real(batch, ids)

    monkeypatch.setattr(RowBatch, "append", append)
    return rows


def allow_places(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
    """Memory suffices for the caches of so many rows: places take it, whether or not rows are in them."""
    blocks, with_room = SlotCache._blocks, _RoomyLayer._with_room

    def slots_blocks(cache: SlotCache, *asked: Any) -> Any:
        if cache._shape[0] > most:
            raise error
        return blocks(cache, *asked)

    def rows_blocks(layer: _RoomyLayer, states: torch.Tensor) -> torch.Tensor:
        if states.shape[0] > most:
            raise error
        return with_room(layer, states)

    monkeypatch.setattr(SlotCache, "_blocks", slots_blocks)
    monkeypatch.setattr(_RoomyLayer, "_with_room", rows_blocks)


@pytest.mark.parametrize("architecture", ["llama", "falcon"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("simulated"), MemoryError()], ids=repr)
@pytest.mark.parametrize("length", [20, 1100])
def test_out_of_memory_halves_the_places_and_loses_nothing(
    make_lm: Callable[[str], LanguageModel],
    monkeypatch: pytest.MonkeyPatch,
    steps: list[int],
    architecture: str,
    error: Exception,
    length: int,
) -> None:
    lm = make_lm(architecture)
    suffixes = [some_ids(length - n, seed=n) for n in range(5)]  # of the long ones, one begins at a time
    prompts = [[7] * 20 + suffix for suffix in suffixes]
    expected = generate(lm, prompts, 3, (), batch_size=1)
    allow_places(monkeypatch, 2, error)
    counts: list[int] = []
    steps.clear()
    assert generate(lm, prompts, 3, (), batch_size=5, on_progress=counts.append) == expected
    assert sum(counts) == 5, "no row is lost or doubled"
    assert max(steps) == 2, "5, and then 2 places"


def test_out_of_memory_under_way_keeps_what_was_generated(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    expected = generate(llama, prompts, max_new_tokens=6, stop=())
    real, sizes, begun = RowBatch.append, [], []
    begin = RowBatch.begin

    def limited(batch: RowBatch, ids: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 2 and len(sizes) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return real(batch, ids)

    def noted(batch: RowBatch, suffixes: list[list[int]], groups: list[int]) -> torch.Tensor:
        begun.append([len(suffix) for suffix in suffixes])
        return begin(batch, suffixes, groups)

    monkeypatch.setattr(RowBatch, "append", limited)
    monkeypatch.setattr(RowBatch, "begin", noted)
    assert generate(llama, prompts, 6, (), batch_size=4) == expected
    assert sizes[:4] == [4, 4, 4, 2]
    assert begun[1:] == [[n + 3 for n in begun[0][:2]], [n + 3 for n in begun[0][2:]]], "with their three tokens"


def test_out_of_memory_while_rows_are_taken_out_loses_nothing(
    make_lm: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    lm = make_lm("bloom")
    plain = generate(lm, prompts, max_new_tokens=9, stop=())
    stop = [lm.decode([*plain[0].token_ids[2:4]]), lm.decode([*plain[1].token_ids[4:6]])]
    expected = generate(lm, prompts, max_new_tokens=9, stop=stop)
    assert len({len(done.token_ids) for done in expected}) > 1, "they end at different steps"
    real, failed = RowBatch.drop, []

    def drop(batch: RowBatch, places: list[int]) -> list[int]:
        if len(places) < len(batch) and not failed:
            failed.append(places)
            raise MemoryError
        return real(batch, places)

    monkeypatch.setattr(RowBatch, "drop", drop)
    assert generate(lm, prompts, 9, stop, batch_size=4) == expected
    assert failed


def test_out_of_memory_with_one_prompt_names_its_length(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]
) -> None:
    allow_places(monkeypatch, 0, MemoryError())
    length = len(llama.encode(prompts[0]))
    with pytest.raises(EnvironmentFault, match=rf"one prompt of {length} tokens.*max_new_tokens"):
        generate(llama, prompts, max_new_tokens=4, batch_size=4)


def test_out_of_real_memory_a_smaller_batch_goes_on() -> None:
    driver = Path(__file__).parents[1] / "memory_driver.py"
    done = subprocess.run([sys.executable, driver], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["same"], "no row is lost or doubled"
    assert found["places"][0] == 64
    assert found["places"][-1] < 64, "memory did not suffice"
    assert found["rows_at_most"] == found["places"][-1] > 1


def test_another_error_is_not_taken_for_lack_of_memory(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(RowBatch, "begin", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generate(llama, ["a b"], max_new_tokens=4)
