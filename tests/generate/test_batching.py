import pytest

from cotlens import LanguageModel
from cotlens.generate import batching
from cotlens.generate.batching import choose_batch_size


def test_longer_rows_make_smaller_batches(lm: LanguageModel) -> None:
    sizes = [choose_batch_size(lm, length, 150, 900) for length in (10, 10**5, 10**9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1
    assert sizes[-1] == 1


def test_copies_of_the_prefix_count_where_it_is_not_shared(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "free_bytes", lambda device: 400_000_000)
    shared = choose_batch_size(llama, 60, 150, 5000)
    monkeypatch.setattr(llama, "shares_prefix", False)
    assert choose_batch_size(llama, 60, 150, 5000) < shared
