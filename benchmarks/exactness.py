"""``python -m benchmarks.exactness MODEL``: discovery with a shared prefix against a forward pass for every token.

The model answers a few bundled questions after the eight-shot prompt. The stage ``discover`` then reads the completions
as in any run: the prompt's common beginning once, what follows together. Beside it each step is computed as the method
is told: a plain forward pass over the text so far, its last position, all coefficients, the lengths of their value
vectors, and a sort. MODEL is any name or path that ``cotlens`` takes. Ends with 1 if coefficients differ.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.agreement import Agreement, compare_arrays
from benchmarks.ours.stored import store_completions
from benchmarks.worker import say
from cotlens import Completion, LanguageModel, build_prompt, generate, load_model, load_problems, open_run
from cotlens.discover import discover_stage
from cotlens.store import RunWriter
from cotlens.types import Silent

TOP_K = 20


class Tops(NamedTuple):
    """Neurons and coefficients ``[steps, layers, K]``, best first."""

    neuron: np.ndarray
    coefficient: np.ndarray


def main(words: list[str] | None = None) -> int:
    asked = _parse(words)
    lm = load_model(asked.model, device=asked.device, dtype=asked.dtype)
    prompts = [build_prompt("cot", problem.question) for problem in load_problems()[: asked.questions]]
    say(f"{lm.name}: {len(prompts)} answers ...")
    completions = generate(lm, prompts, max_new_tokens=asked.tokens, stop=())
    with tempfile.TemporaryDirectory(prefix="cotlens-exact-") as scratch:
        ours = by_the_stage(lm, completions, Path(scratch) / "run")
    naive = step_by_step(lm, completions)
    found = compare_arrays(ours, naive)
    assert isinstance(found, Agreement), found
    print(report(lm, completions, found, int((ours.neuron == naive.neuron).all(axis=2).sum())))
    return 0 if found.good else 1


def by_the_stage(lm: LanguageModel, completions: Sequence[Completion], folder: Path) -> Tops:
    """What ``discover`` writes to a run."""
    stored = [{"prompt_ids": one.prompt_ids, "token_ids": one.token_ids, "text": one.text} for one in completions]
    with RunWriter.open(folder, store_completions(folder, stored, lm.name)) as run:
        run.begin("discover", "measured")
        discover_stage(run, lm, Silent())
        run.finish("discover", 0.0)
    found = open_run(folder).activations()
    shape = (found.height // lm.n_layers, lm.n_layers, TOP_K)
    columns = (np.array(found[name].to_list()).reshape(shape) for name in ("neuron", "coefficient"))
    return Tops(*columns)


@torch.inference_mode()
def step_by_step(lm: LanguageModel, completions: Sequence[Completion]) -> Tops:
    """One pass over everything before it for each token, without a cache."""
    lengths = [ffn.value_vectors.double().norm(dim=1) for ffn in lm.ffn]
    steps = []
    for number, one in enumerate(completions):
        for place in range(len(one.token_ids)):
            say(f"  text {number + 1} of {len(completions)}, token {place + 1} of {len(one.token_ids)}")
            coefficients = last_coefficients(lm, [*one.prompt_ids, *one.token_ids[:place]])
            steps.append([_best(m, length) for m, length in zip(coefficients, lengths, strict=True)])
    return Tops(*(np.array([[layer[part] for layer in step] for step in steps]) for part in (0, 1)))


@torch.inference_mode()
def last_coefficients(lm: LanguageModel, ids: Sequence[int]) -> list[Tensor]:
    """Of every layer, all coefficients at the last token of ``ids``, by the model's own forward pass."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept.append(inputs[0].reshape(-1, inputs[0].shape[-1])[-1].clone())

    with contextlib.ExitStack() as stack:
        for ffn in lm.ffn:
            stack.callback(ffn.down_projection.register_forward_pre_hook(keep).remove)
        lm.model.base_model(torch.tensor([list(ids)], device=lm.device), use_cache=False)
    return kept


def report(lm: LanguageModel, completions: Sequence[Completion], found: Agreement, same_order: int) -> str:
    lengths = [len(one.prompt_ids) for one in completions]
    tokens = sum(len(one.token_ids) for one in completions)
    return (
        f"{lm!r}\n"
        f"{len(completions)} questions, prompts of {min(lengths)} to {max(lengths)} tokens, {tokens} tokens generated\n"
        f"pairs of step and layer: {found.sets}\n"
        f"same {TOP_K} neurons in the same order: {same_order}\n"
        f"same {TOP_K} neurons: {found.same_sets}\n"
        f"largest relative difference of a coefficient: {found.largest:.1e}"
    )


def _best(m: Tensor, length: Tensor) -> tuple[np.ndarray, np.ndarray]:
    order = (m.double().abs() * length).sort(descending=True, stable=True).indices[:TOP_K]
    return order.cpu().numpy(), m[order].float().cpu().numpy()


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exactness", description=__doc__)
    parser.add_argument("model", help="smollm2-135m, a hub id, a folder, or a .gguf file")
    parser.add_argument("--questions", type=at_least_one, default=2, help="of the bundled problems; 2 unless given")
    parser.add_argument("--tokens", type=at_least_one, default=12, help="generated for each; 12 unless given")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args(words)


def at_least_one(text: str) -> int:
    """A number of words on the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: give 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
