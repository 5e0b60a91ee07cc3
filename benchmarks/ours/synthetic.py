"""A run of any size without a model: random, the same for the same sizes, and written as the stages write theirs.

Neurons are as uneven as real ones: a few are active at most steps, many hardly ever, most with mainly one sign.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.ours import synthetic_tables as tables
from benchmarks.ours.synthetic_tables import PROMPT, Sizes
from cotlens import RunConfig
from cotlens.analyze import analyze_stage
from cotlens.analyze.accuracy import accuracy_by_variant, accuracy_differences
from cotlens.analyze.failure_tables import completion_failures, failure_shares
from cotlens.discover import ROWS_TOGETHER
from cotlens.project.stage import ROWS_TOGETHER as NEURONS_TOGETHER
from cotlens.store import Run, RunWriter
from cotlens.types import Silent

VARIANTS = ("cot", "equation_only", "text_only", "incorrect_label")
#: Rows of a run that is analysed for its tables; those of a large one have the same size.
_ANALYSED = 30_000


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Write a run of ``sizes`` to the folder ``out``."""
    sizes = Sizes(**job["sizes"])
    return lambda: write_run(Path(job["out"]), sizes)


def write_run(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """A run labelled and analysed; how many rows and bytes of activations it has."""
    with _begun(folder, sizes) as run:
        _discovered(run, sizes)
        if sizes.rows <= _ANALYSED:
            _begin(run, "analyze")
            analyze_stage(run, Silent())
        else:
            _analysed_like_a_small_one(run, sizes)
        run.finish("analyze", 0.0)
    written = run.manifest.stages["discover"].parts.values()
    return asdict(sizes) | {
        "rows": sum(part.rows or 0 for part in written), "bytes": sum(part.size_bytes for part in written)
    }  # fmt: skip


def _begun(folder: Path, sizes: Sizes) -> Any:
    config = RunConfig.model_validate(
        {"prompt": {"variants": VARIANTS}, "intervene": {"variant": VARIANTS[0]}, "discover": {"top_k": sizes.top_k},
         "analyze": {"bootstrap": 200, "permutations": 200, "control_draws": 2}}
    )  # fmt: skip
    return RunWriter.open(folder, config)


def _begin(run: RunWriter, stage: str) -> None:
    run.begin(stage, "synthetic")


def _discovered(run: RunWriter, sizes: Sizes) -> None:
    """All stages up to ``label``."""
    run.manifest.model = {"name": "synthetic", "fingerprint": "0" * 64, "n_layers": sizes.layers}
    run.manifest.model |= {"d_ff": sizes.width, "d_model": 4096}
    stages = ("generate", "discover", "project", "similar", "label")
    for stage in stages:
        _begin(run, stage)
    hits = np.zeros((sizes.layers, sizes.width, 2), np.int32)
    with ThreadPoolExecutor(2) as pool:
        for part in _ahead(pool, lambda place: _part(sizes, *place), _places(sizes)):
            run.add_frame("generate", f"completions/{part.name}", part.completions)
            run.add_frame("generate", f"tokens/{part.name}", part.tokens)
            run.add_frame("discover", f"activations/{part.name}", part.activations, ROWS_TOGETHER)
            hits += part.hits
    run.add_frame("project", "neurons.parquet", neurons := tables.neurons(sizes, hits), NEURONS_TOGETHER)
    run.add_frame("similar", "similar.parquet", tables.similar(neurons), NEURONS_TOGETHER)
    run.add_frame("label", "concepts.parquet", tables.concepts(neurons))
    (run.path / "judgements.jsonl").touch()
    run.record_file("label", "judgements.jsonl", rows=0)
    for stage in stages:
        run.finish(stage, 0.0)


def _analysed_like_a_small_one(run: RunWriter, sizes: Sizes) -> None:
    """What is counted in activations is that of a small run: counting all takes long, and its tables are as large."""
    small = run.path.with_name(f"{run.path.name}-small")
    write_run(small, replace(sizes, rows=_ANALYSED))
    _begin(run, "analyze")
    for file in sorted((small / "analysis").iterdir()):
        run.add_frame("analyze", f"analysis/{file.name}", pl.read_parquet(file))
    shutil.rmtree(small)
    for name, table in _tables_of_completions(run).items():
        run.add_frame("analyze", f"analysis/{name}.parquet", table)


def _tables_of_completions(run: Run) -> dict[str, pl.DataFrame]:
    completions, config = run.completions(), run.config.analyze
    failures = completion_failures(completions)
    return {
        "accuracy": accuracy_by_variant(completions, VARIANTS, config.confidence),
        "accuracy_differences": accuracy_differences(completions, VARIANTS, VARIANTS[0], config, run.config.seed),
        "failures": failures,
        "failure_shares": failure_shares(failures, ["variant"], (VARIANTS[0],), config, run.config.seed),
    }


@dataclass(frozen=True, slots=True)
class Part:
    """The questions of one variant that lie in one file of each kind."""

    name: str
    completions: pl.DataFrame
    tokens: pl.DataFrame
    activations: pl.DataFrame
    hits: np.ndarray
    """``[layers, width, 2]``: with positive and with negative coefficient."""


def _places(sizes: Sizes) -> Iterator[tuple[int, int, int]]:
    """Number of the variant, first question and end of each part."""
    questions = sizes.questions(len(VARIANTS))
    for variant in range(len(VARIANTS)):
        for start in range(0, questions, sizes.part_size):
            yield variant, start, min(start + sizes.part_size, questions)


def _ahead(pool: ThreadPoolExecutor, make: Callable[[Any], Part], places: Iterable[Any]) -> Iterator[Part]:
    """The results in order, two of them being made at any time: all at once would not fit into memory."""
    waiting: list[Any] = []
    for place in places:
        waiting.append(pool.submit(make, place))
        if len(waiting) > 2:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _part(sizes: Sizes, variant: int, start: int, end: int) -> Part:
    rng = np.random.default_rng([variant, start])
    names = [f"synthetic-{number:05d}" for number in range(start, end)]
    token_ids = [tables.token_ids(rng, sizes) for _ in names]
    activations, hits = _activations(rng, sizes, VARIANTS[variant], names, token_ids)
    return Part(
        name=f"{VARIANTS[variant]}-{start // sizes.part_size:04d}.parquet",
        completions=tables.completions(VARIANTS[variant], names, token_ids),
        tokens=tables.tokens(VARIANTS[variant], names, token_ids, with_shared=start == 0),
        activations=activations,
        hits=hits,
    )


def _activations(
    rng: np.random.Generator, sizes: Sizes, variant: str, names: list[str], token_ids: list[np.ndarray]
) -> tuple[pl.DataFrame, np.ndarray]:
    generated = [ids[2 * PROMPT :] for ids in token_ids]
    step = np.concatenate([np.arange(len(ids), dtype=np.int32) for ids in generated])
    layer = np.tile(np.arange(sizes.layers, dtype=np.int32), len(step))
    neuron, coefficient, score = _top_neurons(rng, sizes, layer)
    hits = np.zeros((sizes.layers, sizes.width, 2), np.int32)
    places = (layer[:, None].astype(np.int64) * sizes.width + neuron) * 2 + (coefficient < 0)
    np.add.at(hits.reshape(-1), places.ravel(), np.int32(1))
    each = [len(ids) * sizes.layers for ids in generated]
    frame = pl.DataFrame(
        {
            "variant": pl.repeat(variant, len(layer), eager=True),
            "question_id": pl.Series(names).gather(np.repeat(np.arange(len(names)), each)),
            "step": np.repeat(step, sizes.layers),
            "token_id": np.repeat(np.concatenate(generated), sizes.layers),
            "layer": layer,
            "neuron": tables.lists(neuron),
            "coefficient": tables.lists(coefficient),
            "score": tables.lists(score),
        }
    )
    return frame, hits


def _top_neurons(
    rng: np.random.Generator, sizes: Sizes, layer: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neurons, coefficients and scores ``[rows, K]``, best first."""
    shape = (len(layer), sizes.top_k)
    # One neuron of each of K strata, so that none is named twice; within a stratum the first ones are active most.
    stratum = sizes.width // sizes.top_k
    within = (rng.random(shape, dtype=np.float32) ** 3 * stratum).astype(np.int32)
    neuron = (within + stratum * np.arange(sizes.top_k, dtype=np.int32) + 31 * layer[:, None]) % sizes.width
    score = rng.standard_exponential(shape, dtype=np.float32) * (1 + layer[:, None].astype(np.float32) / 10)
    best = np.argsort(-score, axis=1)
    neuron, score = np.take_along_axis(neuron, best, axis=1), np.take_along_axis(score, best, axis=1)
    rare = rng.integers(0, 10, shape, dtype=np.uint8) == 0
    sign = np.where((neuron % 2 == 0) ^ rare, np.float32(-1), np.float32(1))
    return neuron.astype(np.int32), sign * score / tables.value_norms(sizes)[neuron], score
