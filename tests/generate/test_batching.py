from weakref import WeakKeyDictionary

import pytest
import torch

from cotlens import LanguageModel
from cotlens.generate import batching
from cotlens.generate.batching import choose_batch_size, rows_that_fit, rows_that_pay
from cotlens.model.packed_weights import PackedWeights


@pytest.fixture(autouse=True)
def _nothing_timed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_timed", WeakKeyDictionary())


def test_longer_rows_make_smaller_batches(lm: LanguageModel) -> None:
    sizes = [rows_that_fit(lm, length, 150, 900, 0.1) for length in (10, 10**5, 10**9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1
    assert sizes[-1] == 1


def test_copies_of_the_prefix_count_where_it_is_not_shared(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "free_bytes", lambda device: 400_000_000)
    shared = rows_that_fit(llama, 60, 150, 5000, 0.01)
    assert rows_that_fit(llama, 60, 150, 5000, 1.0) < shared, "a prefix for each row"
    monkeypatch.setitem(llama.__dict__, "shares_prefix", False)
    assert rows_that_fit(llama, 60, 150, 5000, 0.01) < shared


def test_never_more_rows_than_there_are(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_time_forward", lambda *_: pytest.fail("few rows need no timing"))
    assert choose_batch_size(llama, 60, 150, 900, rows=3) == 3


@pytest.mark.parametrize(
    ("seconds", "rows", "chosen"),
    [
        ({16: 1.0, 32: 1.9}, 5000, 16),
        ({16: 1.0, 32: 1.5, 64: 2.9}, 5000, 32),
        ({16: 1.0, 32: 1.1, 64: 1.2, 128: 2.3}, 5000, 64),
        ({16: 1.0, 24: 1.5}, 24, 24),  # two rounds of 16 take longer than one of 24
        ({16: 1.0, 24: 1.95}, 24, 16),
        ({16: 1.0, 32: 1.0, 33: 1.8}, 33, 33),
    ],
    ids=str,
)
def test_the_batch_grows_while_all_rows_are_through_sooner(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], rows: int, chosen: int
) -> None:
    timed: list[int] = []

    def time_forward(_: LanguageModel, tokens: int, packed: object) -> float:
        timed.append(tokens)
        return seconds[tokens]

    monkeypatch.setattr(batching, "_time_forward", time_forward)
    assert choose_batch_size(llama, 60, 150, 900, rows=rows) == chosen
    assert choose_batch_size(llama, 60, 150, 900, rows=rows) == chosen
    assert sorted(timed) == sorted(seconds), "each size is timed once"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("simulated"), MemoryError()], ids=repr)
@pytest.mark.parametrize(("fitting", "chosen"), [(64, 64), (16, 16), (0, 16)])
def test_a_size_that_does_not_fit_while_it_is_timed_is_not_chosen(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, error: Exception, fitting: int, chosen: int
) -> None:
    timed: list[int] = []

    def time_forward(_: LanguageModel, tokens: int, packed: object) -> float:
        timed.append(tokens)
        if tokens > fitting:
            raise error
        return 1.0

    monkeypatch.setattr(batching, "_time_forward", time_forward)
    assert rows_that_pay(llama, 5000, 1000) == chosen
    timed.clear()
    fitting = 1000
    assert rows_that_pay(llama, 5000, 1000) == 1000, "what did not fit is tried again"
    assert 1000 in timed


def test_another_error_while_it_is_timed_is_raised(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(batching, "_time_forward", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        rows_that_pay(llama, 5000, 64)


def test_ordered_weights_are_timed_apart_from_plain_ones(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    # Plain products get dearer with the rows, ordered ones don't.
    monkeypatch.setattr(
        batching, "_time_forward", lambda _, tokens, packed: 1.0 if packed is not None else float(tokens)
    )
    packed = PackedWeights.of(llama, 64)
    assert rows_that_pay(llama, 5000, 64) == 16
    assert rows_that_pay(llama, 5000, 64, packed) == 64
    assert rows_that_pay(llama, 5000, 64) == 16


def test_the_timing_is_of_real_forward_passes_with_the_weights_that_decoding_uses(llama: LanguageModel) -> None:
    seen: list[torch.Size] = []
    hook = llama.ffn[0].down_projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    packed = PackedWeights.of(llama, 64)
    assert packed is not None
    used: list[bool] = []
    watch = llama.ffn[0].down_projection.register_forward_hook(lambda m, *_: used.append("forward" in m.__dict__))
    assert rows_that_pay(llama, 5000, 64, packed) in (16, 32, 64)
    hook.remove()
    watch.remove()
    assert seen[0] == (1, 16, 48)
    assert all(used)
