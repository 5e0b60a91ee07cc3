"""``python -m benchmarks``: prints one line per measurement. All figures are ratios from this one run."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from cotlens import build_prompt, generate, load_model, load_problems, project
from cotlens.capture import capture_top_neurons
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import SuffixBatch, common_prefix_length, compute_prefix

QUESTIONS = 24
NEW_TOKENS = 60


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def median(work: Callable[[], Any], times: int = 3) -> float:
    work()  # the first call pays for caches and allocations
    return statistics.median(timed(work)[0] for _ in range(times))


def row(name: str, ours_s: float, peer: str, peer_s: float, note: str = "") -> None:
    print(
        f"{name:<44} {ours_s:8.2f} s   {peer:<36} {peer_s:8.2f} s   ratio {peer_s / ours_s:6.2f}   {note}", flush=True
    )


def generation(lm: LanguageModel, prompts: list[str]) -> list[list[int]]:
    """B1: against transformers' own generate on the same padded batch; texts compared."""
    ours, done = timed(lambda: generate(lm, prompts, max_new_tokens=NEW_TOKENS, stop=()))
    tokenizer = lm.tokenizer
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    peer, out = timed(lambda: lm.model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False))
    theirs = [lm.decode(ids.tolist()) for ids in out[:, batch["input_ids"].shape[1] :]]
    same = sum(text.startswith(completion.text) for text, completion in zip(theirs, done, strict=True))
    row(
        "B1 generate, shared prefix",
        ours,
        f"transformers generate, batch {len(prompts)}",
        peer,
        f"same text {same}/{len(prompts)}",
    )
    return [[*completion.prompt_ids, *completion.token_ids] for completion in done]


def discovery(lm: LanguageModel, texts: list[list[int]], prompts: list[str]) -> None:
    """B2: capture against the same forward without hooks."""
    lengths = [len(lm.encode(prompt)) for prompt in prompts]
    shared = common_prefix_length([text[:n] for text, n in zip(texts, lengths, strict=True)])
    prefix = compute_prefix(lm, texts[0][:shared])
    suffixes = [text[shared:-1] for text in texts]
    width = max(map(len, suffixes))
    positions = torch.cat(
        [
            torch.arange((i + 1) * width - (len(t) - n), (i + 1) * width)
            for i, (t, n) in enumerate(zip(texts, lengths, strict=True))
        ]
    )
    plain = median(lambda: SuffixBatch(lm, prefix, suffixes).encode_suffixes())
    with capture_top_neurons(lm, 20) as recorder:

        def capture() -> None:
            recorder.positions = positions
            SuffixBatch(lm, prefix, suffixes).encode_suffixes()
            recorder.take()

        hooked = median(capture)
    row(
        "B2 discovery forward, top-20 of 30 layers",
        hooked,
        "same forward without hooks",
        plain,
        f"{len(positions)} steps",
    )


def projection(lm: LanguageModel) -> None:
    """B3: one layer's neurons against the bare matrix product."""
    neurons = [(20, index) for index in range(lm.ffn[20].width)]
    values = lm.ffn[20].value_vectors.contiguous()
    ours = median(lambda: project(lm, neurons))
    bare = median(lambda: values @ lm.unembedding.T)
    row("B3 projection of 1536 neurons, both ends", ours, "bare matrix product", bare)


def startup() -> None:
    """B6: the help page."""
    command = [sys.executable, "-m", "cotlens.cli", "--help"]
    took = median(lambda: subprocess.run(command, check=True, capture_output=True), times=5)
    row("B6 cotlens --help", took, "goal", 0.3)


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    lm = load_model("smollm2-135m", device="cpu")
    prompts = [build_prompt("cot", problem.question) for problem in load_problems("mini", QUESTIONS)]
    texts = generation(lm, prompts)
    discovery(lm, texts, prompts)
    projection(lm)
    startup()


if __name__ == "__main__":
    main()
