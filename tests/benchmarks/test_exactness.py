"""The check of discovery against a forward pass for every token, on tiny models."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from benchmarks.exactness import Tops, last_coefficients

from benchmarks import exactness
from cotlens import LanguageModel, build_prompt


@pytest.fixture(params=["gemma3", "falcon"])
def model(
    request: pytest.FixtureRequest,
    make_lm: Callable[[str], LanguageModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A prefix held once, and one that is copied for each row; one demonstration makes it long enough."""
    monkeypatch.setattr(exactness, "build_prompt", partial(build_prompt, shots=1))
    lm = make_lm(request.param)
    lm.model.save_pretrained(tmp_path / request.param)
    lm.tokenizer.save_pretrained(tmp_path / request.param)
    return str(tmp_path / request.param)


def test_it_counts_what_is_the_same(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exactness.main([model, "--questions", "2", "--tokens", "3"]) == 0
    printed = capsys.readouterr().out
    assert "2 questions, prompts of " in printed
    assert ", 6 tokens generated" in printed
    for counted in ("pairs of step and layer", "same 20 neurons in the same order", "same 20 neurons"):
        assert f"{counted}: 18\n" in printed
    difference = float(printed.rpartition(": ")[2])
    assert 0 <= difference < 1e-4


def test_coefficients_that_differ_end_it_with_one(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_the_stage = exactness.by_the_stage

    def wrong(*given: object) -> Tops:
        found = by_the_stage(*given)
        found.coefficient[1, 2, 0] *= 1.01
        found.neuron[0, 0, :2] = found.neuron[0, 0, 1::-1]
        found.coefficient[0, 0, :2] = found.coefficient[0, 0, 1::-1]
        return found

    monkeypatch.setattr(exactness, "by_the_stage", wrong)
    assert exactness.main([model, "--questions", "1", "--tokens", "2"]) == 1
    printed = capsys.readouterr().out
    assert "same 20 neurons in the same order: 5\n" in printed
    assert "same 20 neurons: 6\n" in printed
    assert "coefficient: 9.9e-03" in printed


def test_the_forward_pass_beside_it_is_the_models_own(llama: LanguageModel) -> None:
    layers = last_coefficients(llama, [5, 6, 7])
    assert [tuple(layer.shape) for layer in layers] == [(48,)] * 3
    longer = last_coefficients(llama, [5, 6, 7, 8])
    assert not any(np.allclose(a, b) for a, b in zip(layers, longer, strict=True))
    assert not any(ffn.down_projection._forward_pre_hooks for ffn in llama.ffn)


@pytest.mark.parametrize("words", [[], ["m", "--questions", "0"], ["m", "--tokens", "x"]])
def test_wrong_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        exactness.main(words)
    assert "error: " in capsys.readouterr().err
