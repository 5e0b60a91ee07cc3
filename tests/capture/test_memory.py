from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cotlens import LanguageModel
from cotlens.capture import memory, open_reader
from cotlens.capture.memory import Workload, check_memory, estimate_memory, kept_per_token
from cotlens.capture.passages import Passage
from cotlens.errors import EnvironmentFault
from cotlens.model.shared_prefix import compute_prefix

WORK = Workload(
    prefix_tokens=900, own_tokens=200, text_steps=150, batch_tokens=2048, batch_texts=10, part_steps=64 * 150
)
MIB = 2**20


def test_the_prefix_takes_what_is_foreseen(any_lm: LanguageModel) -> None:
    prefix = compute_prefix(any_lm, list(range(1, 31)))
    held = sum(tensor.nbytes for tensor in (*prefix.keys, *prefix.values))
    foreseen = estimate_memory(any_lm, "coefficients", 20, Workload(30, 10, 8, 20, 2, 5))["prefix"]
    assert held == foreseen


def test_what_is_kept_of_residual_streams_is_foreseen(llama: LanguageModel) -> None:
    passage = Passage(list(range(3, 30)), 12)
    with open_reader(llama, 5, "dla") as reader:
        recorder = reader._recorder
        recorder.positions = torch.arange(11, 26)
        with torch.inference_mode():
            llama.model(torch.tensor([passage.token_ids[:-1]]))
        lists = (recorder._coefficients, recorder._block_outputs, recorder._added, recorder._streams)
        held = sum(tensor.nbytes for kept in lists for tensor in kept)
    assert held == 15 * kept_per_token(llama)


@pytest.mark.parametrize("needs", ["coefficients", "residuals", "gradients"])
def test_more_work_needs_more(any_lm: LanguageModel, needs: memory.Needs) -> None:
    def total(top_k: int = 20, **changes: int) -> int:
        work = {name: getattr(WORK, name) for name in Workload.__slots__} | changes
        return sum(estimate_memory(any_lm, needs, top_k, Workload(**work)).values())

    plain = total()
    assert total(top_k=40) > plain
    for name in ("prefix_tokens", "own_tokens", "part_steps", "batch_tokens"):
        assert total(**{name: 3 * getattr(WORK, name)}) > plain
    assert (total(text_steps=200) > plain) is (needs != "coefficients")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("prefix", "prompt.shots"),
        ("forward pass", "model.dtype=bfloat16"),
        ("top-K", "discover.top_k"),
        ("tables", "generate.part_size"),
        ("residual streams", "discover.ranker=norm"),
        ("graph", "discover.ranker=norm"),
    ],
)
def test_a_demand_above_what_is_free_names_the_largest_item_and_a_remedy(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 300 * MIB)
    demand = {"prefix": 20 * MIB, "forward pass": 30 * MIB, name: 290 * MIB}
    with pytest.raises(EnvironmentFault) as caught:
        check_memory(llama, demand)
    message = str(caught.value)
    assert f"{name} 290" in message
    assert "300 MiB are free on cpu" in message
    assert remedy in message


def test_every_item_has_a_remedy(llama: LanguageModel) -> None:
    items = {
        item
        for needs in ("coefficients", "residuals", "gradients")
        for item in estimate_memory(llama, needs, 5, replace(WORK, lens_tokens=2))
    }
    assert items == set(memory._REMEDIES)


def test_what_fits_is_let_through_and_told(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cotlens")
    monkeypatch.setattr(memory, "free_bytes", lambda _: 300 * MIB)
    check_memory(llama, {"prefix": 100 * MIB, "tables": 150 * MIB})
    assert caplog.messages == ["discover: needs about 250 MiB (prefix 100, tables 150); 300 MiB are free on cpu"]


def test_rows_that_copy_the_prefix_are_counted(make_lm: Callable[[str], LanguageModel]) -> None:
    copying, sharing = make_lm("falcon"), make_lm("gpt2")
    for lm, grows in ((copying, True), (sharing, False)):
        few = estimate_memory(lm, "coefficients", 20, Workload(900, 200, 150, 2048, 2, 100))
        many = estimate_memory(lm, "coefficients", 20, Workload(900, 200, 150, 2048, 50, 100))
        assert (many["forward pass"] > few["forward pass"]) is grows
