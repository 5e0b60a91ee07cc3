"""``python -m benchmarks.precision MODEL``: what bfloat16 changes in the completions, and what the batch size does.

The model answers the first bundled questions after the eight-shot prompt, in fp32 and in bf16, one prompt at a time and
many together. Counted are the completions whose tokens are all the same, and the answers that are right. MODEL is any
name or path that ``cotlens`` takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.exactness import at_least_one
from benchmarks.worker import say
from cotlens import Completion, build_prompt, extract_answer, generate, load_model, load_problems
from cotlens.config import GenerateConfig
from cotlens.data import is_correct
from cotlens.types import Problem

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Answers:
    """All completions of one precision at one batch size."""

    dtype: str
    batch: int
    seconds: float
    completions: Sequence[Completion]

    @property
    def name(self) -> str:
        return f"{self.dtype}, batch {self.batch}"

    def accuracy(self, problems: Sequence[Problem]) -> float:
        """The share of strict answers that are right."""
        found = [extract_answer(one.text) for one in self.completions]
        return sum(is_correct(a, p.gold) for a, p in zip(found, problems, strict=True)) / len(problems)


def main(words: list[str] | None = None) -> int:
    asked = _parse(words)
    problems = load_problems(limit=asked.questions)
    given = [one for dtype in DTYPES for one in answers(asked, dtype, problems)]
    print(report(given, problems))
    return 0


def answers(asked: argparse.Namespace, dtype: str, problems: Sequence[Problem]) -> list[Answers]:
    """What the model says in this precision, at batch size 1 and at the one asked for."""
    lm = load_model(asked.model, device=asked.device, dtype=dtype)
    prompts = [lm.encode(build_prompt("cot", problem.question)) for problem in problems]
    generate(lm, prompts[:1], 1)  # the weights are read from the file when they are first used
    found = []
    for batch in (1, asked.batch):
        say(f"{lm.name} in {dtype}, batch {batch} ...")
        started = time.perf_counter()
        completions = generate(lm, prompts, asked.tokens, GenerateConfig().stop, batch)
        found.append(Answers(dtype, batch, time.perf_counter() - started, completions))
    return found


def report(given: Sequence[Answers], problems: Sequence[Problem]) -> str:
    """Two tables: of each precision and batch size, and of those that are compared."""
    lines = ["| | seconds | accuracy |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.seconds:.1f} | {one.accuracy(problems):.1%} |" for one in given]
    exact_alone, exact, short_alone, short = given
    pairs = [(exact_alone, exact), (short_alone, short), (exact_alone, short_alone), (exact, short)]
    lines += ["", "| compared | same completions | the others part at token (median) |", "|---|---|---|"]
    return "\n".join([*lines, *(_compared(one, other) for one, other in pairs)])


def parting(one: Completion, other: Completion) -> int | None:
    """The first token, from 0, that is not the same in both; None where all are."""
    if one.token_ids == other.token_ids:
        return None
    pairs = enumerate(zip(one.token_ids, other.token_ids, strict=False))
    shorter = min(len(one.token_ids), len(other.token_ids))
    return next((place for place, (a, b) in pairs if a != b), shorter)


def _compared(one: Answers, other: Answers) -> str:
    parted = [parting(a, b) for a, b in zip(one.completions, other.completions, strict=True)]
    places = [place for place in parted if place is not None]
    same = len(parted) - len(places)
    where = f"{median(places):g}" if places else "-"
    return f"| {one.name}; {other.name} | {same} of {len(parted)} ({same / len(parted):.0%}) | {where} |"


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("model", help="smollm2-135m, a hub id, a folder, or a .gguf file")
    parser.add_argument("--questions", type=at_least_one, default=24, help="of the bundled problems; 24 unless given")
    parser.add_argument("--tokens", type=at_least_one, default=150, help="at most, for each; 150 unless given")
    parser.add_argument("--batch", type=at_least_one, default=24, help="beside one at a time; 24 unless given")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
