import itertools
from weakref import WeakKeyDictionary

import pytest
import torch

from cotlens import LanguageModel
from cotlens.generate import batching
from cotlens.generate.batching import choose_batch_size, rows_that_fit, rows_that_pay


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
    monkeypatch.setattr(batching, "_tokens_per_second", lambda *_: pytest.fail("few rows need no timing"))
    assert choose_batch_size(llama, 60, 150, 900, rows=3) == 3


@pytest.mark.parametrize(
    ("speeds", "rows"), [((100, 105), 16), ((100, 180, 200), 32), ((100, 190, 360, 380), 64)], ids=str
)
def test_the_batch_grows_while_it_pays(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, speeds: tuple[int, ...], rows: int
) -> None:
    seen: list[int] = []
    given = itertools.chain(speeds, itertools.repeat(0))

    def speed(_: LanguageModel, tokens: int) -> float:
        seen.append(tokens)
        return next(given)

    monkeypatch.setattr(batching, "_tokens_per_second", speed)
    assert choose_batch_size(llama, 60, 150, 900, rows=5000) == rows
    assert seen == [16 * 2**n for n in range(len(speeds))]
    assert rows_that_pay(llama) == rows, "timed once"
    assert len(seen) == len(speeds)


def test_the_timing_is_of_real_forward_passes(llama: LanguageModel) -> None:
    seen: list[torch.Size] = []
    hook = llama.ffn[0].down_projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    assert rows_that_pay(llama) in [16 * 2**n for n in range(7)]
    hook.remove()
    assert seen[0] == (1, 16, 48)
