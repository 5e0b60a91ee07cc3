"""A run of any size without a model: random, the same for the same sizes, and written as the stages write theirs.

Neurons are as uneven as real ones: a few are active at most steps, many hardly ever, most with mainly one sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cotlens import RunConfig
from cotlens.discover import ROWS_TOGETHER
from cotlens.generate.token_table import SCHEMA as TOKENS
from cotlens.store import RunWriter

VARIANTS = ("cot", "equation_only", "text_only", "incorrect_label")
#: Roles of a completion's tokens, over and over.
ROLES = "text text text connective text operand operator operand equals result text text text answer_phrase".split()
WORDS = {"connective": " so", "operator": " *", "equals": " =", "answer_phrase": " answer"}
SHORTEST, LONGEST = 60, 150
PROMPT = 40
"""Tokens of each question; what all prompts share is as many again."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the run, and of the model that it claims to come from: Llama2-7B unless given."""

    rows: int = 40_000_000
    """Rows of activations, one for each step and layer; there are a few more."""
    layers: int = 32
    width: int = 11_008
    top_k: int = 20
    vocabulary: int = 32_000
    part_size: int = 64

    @property
    def questions(self) -> int:
        """Under each variant; a few more than completions of mean length would need."""
        mean = (SHORTEST + LONGEST) // 2
        return 1 + self.rows * 101 // (100 * mean * self.layers * len(VARIANTS))


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Write a run of ``sizes`` to the folder ``out``."""
    sizes = Sizes(**job["sizes"])
    return lambda: write_run(Path(job["out"]), sizes)


def write_run(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """The stages ``generate``, ``discover`` and ``project``; how many rows and bytes of activations there are."""
    config = RunConfig.model_validate(
        {"prompt": {"variants": VARIANTS}, "intervene": {"variant": VARIANTS[0]}, "discover": {"top_k": sizes.top_k}}
    )
    hits = np.zeros((sizes.layers, sizes.width, 2), np.int32)
    with RunWriter.open(folder, config) as run, ThreadPoolExecutor(2) as pool:
        run.manifest.model = {"name": "synthetic", "fingerprint": "0" * 64, "n_layers": sizes.layers}
        run.manifest.model |= {"d_ff": sizes.width, "d_model": 4096}
        for stage in ("generate", "discover", "project"):
            run.begin(stage, "synthetic")
        for part in _ahead(pool, lambda place: _part(sizes, *place), _places(sizes)):
            run.add_frame("generate", f"completions/{part.name}", part.completions)
            run.add_frame("generate", f"tokens/{part.name}", part.tokens)
            run.add_frame("discover", f"activations/{part.name}", part.activations, ROWS_TOGETHER)
            hits += part.hits
        run.add_frame("project", "neurons.parquet", _neurons(sizes, hits))
        for stage in ("generate", "discover", "project"):
            run.finish(stage, 0.0)
    written = run.manifest.stages["discover"].parts.values()
    return asdict(sizes) | {
        "rows": sum(part.rows or 0 for part in written), "bytes": sum(part.size_bytes for part in written)
    }  # fmt: skip


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
    for variant in range(len(VARIANTS)):
        for start in range(0, sizes.questions, sizes.part_size):
            yield variant, start, min(start + sizes.part_size, sizes.questions)


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
    steps = rng.integers(SHORTEST, LONGEST + 1, end - start)
    token_ids = [_token_ids(rng, sizes, count) for count in steps.tolist()]
    activations, hits = _activations(rng, sizes, VARIANTS[variant], names, token_ids)
    return Part(
        name=f"{VARIANTS[variant]}-{start // sizes.part_size:04d}.parquet",
        completions=_completions(VARIANTS[variant], names, token_ids),
        tokens=_tokens(VARIANTS[variant], names, token_ids, with_shared=start == 0),
        activations=activations,
        hits=hits,
    )


def _token_ids(rng: np.random.Generator, sizes: Sizes, steps: int) -> np.ndarray:
    """Prompt and completion."""
    shared = np.arange(PROMPT) % sizes.vocabulary
    return np.concatenate([shared, rng.integers(0, sizes.vocabulary, PROMPT + steps)]).astype(np.int32)


def _activations(
    rng: np.random.Generator, sizes: Sizes, variant: str, names: list[str], token_ids: list[np.ndarray]
) -> tuple[pl.DataFrame, np.ndarray]:
    generated = [ids[2 * PROMPT :] for ids in token_ids]
    step = np.concatenate([np.arange(len(ids), dtype=np.int32) for ids in generated])
    rows, k = len(step) * sizes.layers, sizes.top_k
    layer = np.tile(np.arange(sizes.layers, dtype=np.int32), len(step))
    # One neuron of each of K strata, so that none is named twice; within a stratum the first ones are active most.
    stratum = sizes.width // k
    neuron = (rng.random((rows, k), dtype=np.float32) ** 3 * stratum).astype(np.int32) + stratum * np.arange(
        k, dtype=np.int32
    )
    neuron = (neuron * 7919 + layer[:, None] * 31) % sizes.width
    score = rng.standard_exponential((rows, k), dtype=np.float32) * (1 + 0.1 * layer[:, None].astype(np.float32))
    best = np.argsort(-score, axis=1)
    neuron, score = np.take_along_axis(neuron, best, axis=1), np.take_along_axis(score, best, axis=1)
    rare = rng.integers(0, 10, (rows, k), dtype=np.uint8) == 0
    sign = np.where((neuron % 2 == 0) ^ rare, np.float32(-1), np.float32(1))
    coefficient = sign * score / _value_norms(sizes)[neuron]
    hits = np.zeros((sizes.layers, sizes.width, 2), np.int32)
    places = (layer[:, None].astype(np.int64) * sizes.width + neuron) * 2 + (sign < 0)
    np.add.at(hits.reshape(-1), places.ravel(), np.int32(1))
    each = [len(ids) * sizes.layers for ids in generated]
    frame = pl.DataFrame(
        {
            "variant": pl.repeat(variant, rows, eager=True),
            "question_id": pl.Series(names).gather(np.repeat(np.arange(len(names)), each)),
            "step": np.repeat(step, sizes.layers),
            "token_id": np.repeat(np.concatenate(generated), sizes.layers),
            "layer": layer,
            "neuron": _lists(neuron.astype(np.int32)),
            "coefficient": _lists(coefficient),
            "score": _lists(score),
        }
    )
    return frame, hits


def _completions(variant: str, names: list[str], token_ids: list[np.ndarray]) -> pl.DataFrame:
    texts = ["".join(_text(step) for step in range(len(ids) - 2 * PROMPT)) for ids in token_ids]
    correct = [place % 3 == 0 for place in range(len(names))]
    return pl.DataFrame(
        {
            "variant": [variant] * len(names),
            "question_id": names,
            "question": [f"A box holds 12 pens. How many pens do {name[-3:]} boxes hold?" for name in names],
            "gold": ["36"] * len(names),
            "prompt_length": pl.Series([2 * PROMPT] * len(names), dtype=pl.Int32),
            "token_ids": pl.Series([ids.tolist() for ids in token_ids], dtype=pl.List(pl.Int32)),
            "text": texts,
            "stop_reason": ["stop"] * len(names),
            "answer_strict": ["36" if right else "35" for right in correct],
            "answer_flexible": ["36" if right else "35" for right in correct],
            "correct": correct,
            "correct_flexible": correct,
            "stated": pl.Series([None] * len(names), dtype=pl.String),
        }
    )


def _tokens(variant: str, names: list[str], token_ids: list[np.ndarray], with_shared: bool) -> pl.DataFrame:
    rows: list[tuple[Any, ...]] = []
    if with_shared:
        rows += [_token(variant, None, place, place, " word", "frame", "text") for place in range(PROMPT)]
    for name, ids in zip(names, token_ids, strict=True):
        own = ids[PROMPT:].tolist()
        rows += [_token(variant, name, PROMPT + n, token, " word", "question", "text")
                 for n, token in enumerate(own[:PROMPT])]  # fmt: skip
        start = 0
        for step, token in enumerate(own[PROMPT:]):
            text = _text(step)
            rows.append(_token(variant, name, 2 * PROMPT + step, token, text, "completion", _role(step), start))
            start += len(text)
    return pl.DataFrame(rows, schema=TOKENS, orient="row")


def _token(
    variant: str, name: str | None, position: int, token: int, text: str, part: str, role: str, start: int = 0
) -> tuple[Any, ...]:
    return variant, name, position, token, text, start, start + len(text), part, None, 0, role


def _role(step: int) -> str:
    return ROLES[step % len(ROLES)]


def _text(step: int) -> str:
    role = _role(step)
    return WORDS.get(role, " word" if role == "text" else f" {step % 97}")


def _value_norms(sizes: Sizes) -> np.ndarray:
    return (0.5 + np.arange(sizes.width) % 89 / 89).astype(np.float32)


def _neurons(sizes: Sizes, hits: np.ndarray) -> pl.DataFrame:
    """Every active neuron, with as many tokens at each end as the stage ``project`` keeps."""
    layer, neuron = np.nonzero(hits.sum(axis=2))
    found = hits[layer, neuron]
    rng = np.random.default_rng(len(layer))
    shape = (len(layer), 20)
    ends = {end: rng.integers(0, sizes.vocabulary, shape, dtype=np.int32) for end in ("promoted", "suppressed")}
    words = pl.Series([f" word{number}" for number in range(sizes.vocabulary)])
    logits = -np.sort(-rng.random(shape, dtype=np.float32), axis=1)
    return pl.DataFrame(
        {
            "layer": layer.astype(np.int32),
            "neuron": neuron.astype(np.int32),
            "hits": found.sum(axis=1).astype(np.uint32),
            "hits_positive": found[:, 0].astype(np.uint32),
            "hits_negative": found[:, 1].astype(np.uint32),
            "value_norm": _value_norms(sizes)[neuron],
            **{end: words.gather(ids.ravel()).reshape(shape).arr.to_list() for end, ids in ends.items()},
            "promoted_ids": _lists(ends["promoted"]),
            "promoted_logits": _lists(logits),
            "promoted_probs": _lists(logits / 100),
            "suppressed_ids": _lists(ends["suppressed"]),
            "suppressed_logits": _lists(-logits),
            "norm": pl.repeat("none", len(layer), eager=True),
        }
    )


def _lists(values: np.ndarray) -> pl.Series:
    return pl.Series(values).arr.to_list()
