"""The tables of a synthetic run, but for its activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cotlens.concepts import load_concepts
from cotlens.generate.token_table import SCHEMA

#: Roles of a completion's tokens, over and over.
_ROLES = "text text text connective text operand operator operand equals result text text text answer_phrase".split()
_WORDS = {"connective": " so", "operator": " *", "equals": " =", "answer_phrase": " answer"}
_SHORTEST, _LONGEST = 60, 150
#: Tokens of each question; what all prompts share is as many again.
PROMPT = 40
#: Tokens at each end of a projection, and similar neurons, as many as by default.
_TOKENS, _SIMILAR = 20, 10
#: Neurons of each concept.
_MEMBERS = 150


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

    def questions(self, variants: int) -> int:
        """Under each variant; a few more than completions of mean length would need."""
        return 1 + self.rows * 101 // (100 * (_SHORTEST + _LONGEST) // 2 * self.layers * variants)


def token_ids(rng: np.random.Generator, sizes: Sizes) -> np.ndarray:
    """A prompt, the first half of which all share, and a completion."""
    steps = int(rng.integers(_SHORTEST, _LONGEST + 1))
    shared = np.arange(PROMPT) % sizes.vocabulary
    return np.concatenate([shared, rng.integers(0, sizes.vocabulary, PROMPT + steps)]).astype(np.int32)


def completions(variant: str, names: list[str], ids: list[np.ndarray]) -> pl.DataFrame:
    correct = [place % 3 == 0 for place in range(len(names))]
    answers = ["36" if right else "35" for right in correct]
    return pl.DataFrame(
        {
            "variant": [variant] * len(names),
            "question_id": names,
            "question": [f"A box holds 12 pens. How many pens do {name[-3:]} boxes hold?" for name in names],
            "gold": ["36"] * len(names),
            "prompt_length": pl.Series([2 * PROMPT] * len(names), dtype=pl.Int32),
            "token_ids": pl.Series([own.tolist() for own in ids], dtype=pl.List(pl.Int32)),
            "text": ["".join(_text(step) for step in range(len(own) - 2 * PROMPT)) for own in ids],
            "stop_reason": ["stop"] * len(names),
            "answer_strict": answers,
            "answer_flexible": answers,
            "correct": correct,
            "correct_flexible": correct,
            "stated": pl.Series([None] * len(names), dtype=pl.String),
        }
    )


def tokens(variant: str, names: list[str], ids: list[np.ndarray], with_shared: bool) -> pl.DataFrame:
    rows: list[tuple[Any, ...]] = []
    if with_shared:
        rows += [_token(variant, None, place, place, " word", "frame", "text") for place in range(PROMPT)]
    for name, own in zip(names, ids, strict=True):
        start = 0
        for place, token in enumerate(own[PROMPT:].tolist(), start=PROMPT):
            step = place - 2 * PROMPT
            if step < 0:
                rows.append(_token(variant, name, place, token, " word", "question", "text"))
                continue
            rows.append(_token(variant, name, place, token, _text(step), "completion", _role(step), start))
            start += len(_text(step))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def neurons(sizes: Sizes, hits: np.ndarray) -> pl.DataFrame:
    """Every active neuron with its tokens; ``hits`` is ``[layers, width, 2]``."""
    layer, neuron = np.nonzero(hits.sum(axis=2))
    found, shape = hits[layer, neuron], (len(layer), _TOKENS)
    rng = np.random.default_rng(len(layer))
    ends = {end: rng.integers(0, sizes.vocabulary, shape, dtype=np.int32) for end in ("promoted", "suppressed")}
    logits = -np.sort(-rng.random(shape, dtype=np.float32), axis=1)
    words = _vocabulary(sizes)
    return pl.DataFrame(
        {
            "layer": layer.astype(np.int32),
            "neuron": neuron.astype(np.int32),
            "hits": found.sum(axis=1).astype(np.uint32),
            "hits_positive": found[:, 0].astype(np.uint32),
            "hits_negative": found[:, 1].astype(np.uint32),
            "value_norm": value_norms(sizes)[neuron],
            **{end: words.gather(ids.ravel()).reshape(shape).arr.to_list() for end, ids in ends.items()},
            "promoted_ids": lists(ends["promoted"]),
            "promoted_logits": lists(logits),
            "promoted_probs": lists(logits / 100),
            "suppressed_ids": lists(ends["suppressed"]),
            "suppressed_logits": lists(-logits),
            "norm": pl.repeat("none", len(layer), eager=True),
        }
    )


def similar(projected: pl.DataFrame) -> pl.DataFrame:
    """For each neuron some others."""
    count = projected.height
    place = (np.arange(count)[:, None] + np.arange(1, _SIMILAR + 1) * 101) % count
    cosine = np.tile(np.linspace(0.9, 0.2, _SIMILAR, dtype=np.float32), (count, 1))
    ids = {name: projected[name].to_numpy()[place] for name in ("layer", "neuron")}
    return projected.select("layer", "neuron").with_columns(
        lists(ids["layer"]).alias("similar_layer"), lists(ids["neuron"]).alias("similar_neuron"),
        lists(cosine).alias("cosine"),
    )  # fmt: skip


def concepts(projected: pl.DataFrame) -> pl.DataFrame:
    """Of the bundled concepts the same number of neurons each, among those that are active often."""
    often = projected.sort("hits", "layer", "neuron", descending=[True, False, False])
    frames = []
    for number, concept in enumerate(load_concepts(None)):
        members = often.slice(number * _MEMBERS, _MEMBERS).sort("layer", "neuron")
        sign = pl.when(pl.col("hits_positive") >= pl.col("hits_negative")).then(1).otherwise(-1).cast(pl.Int8)
        frames.append(members.select("layer", "neuron", sign=sign, concept=pl.lit(concept.id)))
    return pl.concat(frames)


def value_norms(sizes: Sizes) -> np.ndarray:
    return (0.5 + np.arange(sizes.width) % 89 / 89).astype(np.float32)


def lists(values: np.ndarray) -> pl.Series:
    return pl.Series(values).arr.to_list()


def _vocabulary(sizes: Sizes) -> pl.Series:
    """Seeds of the concepts, and words that mean nothing."""
    seeds = sorted({f" {seed}" for concept in load_concepts(None) for seed in concept.seeds})
    return pl.Series([*seeds, *(f" word{number}" for number in range(sizes.vocabulary))][: sizes.vocabulary])


def _token(
    variant: str, name: str | None, position: int, token: int, text: str, part: str, role: str, start: int = 0
) -> tuple[Any, ...]:
    return variant, name, position, token, text, start, start + len(text), part, None, 0, role


def _role(step: int) -> str:
    return _ROLES[step % len(_ROLES)]


def _text(step: int) -> str:
    role = _role(step)
    return _WORDS.get(role, " word" if role == "text" else f" {step % 97}")
