"""What bf16 and the batch size change, on tiny models."""

import re
from pathlib import Path

import pytest

from benchmarks import precision
from cotlens import Completion, load_problems


def completion(*tokens: int, text: str = "") -> Completion:
    return Completion((1, 2), tokens, text, "length")


def test_the_tables_compare_precisions_and_batch_sizes(llama_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert precision.main([str(llama_folder), "--questions", "3", "--tokens", "4", "--batch", "3"]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| ((?:float32|bfloat16), batch \d) \| (\d+\.\d) \| 0\.0% \|$", printed, flags=re.MULTILINE)
    names = ["float32, batch 1", "float32, batch 3", "bfloat16, batch 1", "bfloat16, batch 3"]
    assert [name for name, _ in rows] == names
    assert "| float32, batch 1; float32, batch 3 | 3 of 3 (100%) | - |" in printed
    compared = re.findall(r"^\| (\S+ batch \d); (\S+ batch \d) \| \d of 3 ", printed, flags=re.MULTILINE)
    pairs = [(0, 1), (2, 3), (0, 2), (1, 3)]
    assert compared == [(names[one], names[other]) for one, other in pairs]


def test_each_precision_is_loaded_as_such(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    load = precision.load_model
    monkeypatch.setattr(precision, "load_model", lambda *name, **how: asked.append(how["dtype"]) or load(*name, **how))
    precision.main([str(llama_folder), "--questions", "1", "--tokens", "1"])
    assert asked == ["float32", "bfloat16"]


def test_completions_part_at_their_first_other_token() -> None:
    assert precision.parting(completion(5, 6, 7), completion(5, 6, 7)) is None
    assert precision.parting(completion(5, 6, 7), completion(5, 8, 7)) == 1
    assert precision.parting(completion(5, 6, 7), completion(5, 6)) == 2


def test_same_completions_and_right_answers_are_counted() -> None:
    problems = load_problems(limit=2)
    right, wrong = (completion(4, text=f"The answer is {problem.gold + n}.") for n, problem in enumerate(problems))
    given = [
        precision.Answers("float32", 1, 2.0, [right, wrong]),
        precision.Answers("float32", 8, 1.0, [right, wrong]),
        precision.Answers("bfloat16", 1, 2.0, [right, completion(4, 5)]),
        precision.Answers("bfloat16", 8, 0.5, [completion(6), completion(4, 5, 6)]),
    ]
    printed = precision.report(given, problems)
    assert "| float32, batch 1 | 2.0 | 50.0% |" in printed
    assert "| bfloat16, batch 8 | 0.5 | 0.0% |" in printed
    assert "| bfloat16, batch 1; bfloat16, batch 8 | 0 of 2 (0%) | 1 |" in printed
    assert "| float32, batch 1; bfloat16, batch 1 | 1 of 2 (50%) | 1 |" in printed
