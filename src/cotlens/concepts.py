"""Algorithm Two, second half: which concept a neuron's tokens carry, by seed words first and then by a judge."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cotlens.errors import DataError
from cotlens.files import content_hash, open_for_appending, parse_yaml, read_jsonl, read_text
from cotlens.judge import Judge, Question, make_judge
from cotlens.judge.words import normalise
from cotlens.store import Run, RunWriter
from cotlens.types import Progress, SignedNeuron

__all__ = ["Concept", "label_stage", "load_concepts", "lowest_layer", "seeds_among"]

JUDGEMENTS = "judgements.jsonl"


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept. ``seeds`` and ``words`` are normalised; ``words`` includes the seeds."""

    id: str
    name: str
    seeds: frozenset[str]
    words: frozenset[str]
    question: str

    def ask(self, tokens: tuple[str, ...]) -> Question:
        return Question(self.id, self.question, self.words, tokens)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str = Field(min_length=1)
    seeds: list[str] = Field(min_length=1)
    words: list[str] = []
    question: str = Field(min_length=1)


def load_concepts(path: str | None = None) -> list[Concept]:
    """The concepts of a YAML file; the published seven when ``path`` is None.

    Raises:
        DataError: no such file, or an entry that is not valid, naming file and entry.
    """
    if path is None:
        text = resources.files("cotlens").joinpath("concepts.yaml").read_text(encoding="utf-8")
        return _parse(text, "concepts.yaml")
    return _parse(read_text(Path(path).expanduser()), path)


def seeds_among(tokens: tuple[str, ...], concept: Concept) -> frozenset[str]:
    """The distinct seeds of ``concept`` among ``tokens``; case and space variants of a word are one seed."""
    return concept.seeds & {normalise(token) for token in tokens}


def _parse(text: str, where: str) -> list[Concept]:
    items = parse_yaml(text, where)
    if not isinstance(items, list) or not items:
        raise DataError(f"{where}: expected a list of concepts, each with id, name, seeds and question")
    concepts = [_concept(item, f"{where}, concept {number}") for number, item in enumerate(items, start=1)]
    ids = [concept.id for concept in concepts]
    for concept_id in ids:
        if ids.count(concept_id) > 1:
            raise DataError(f"{where}: the concept id {concept_id!r} stands there twice")
    return concepts


def _concept(item: object, where: str) -> Concept:
    try:
        entry = _Entry.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "entry"
        raise DataError(f"{where}: {field}: {first['msg']}") from None
    seeds = frozenset(map(normalise, entry.seeds))
    return Concept(entry.id, entry.name, seeds, seeds | frozenset(map(normalise, entry.words)), entry.question)


def label_stage(run: RunWriter, progress: Progress) -> None:
    """Write ``judgements.jsonl`` and ``concepts.parquet``: the reasoning neurons of the run.

    A neuron is judged for each sign with which it was found active, by the tokens that it promotes with that sign:
    the top of its projection when the coefficient is positive, the bottom when it is negative.
    """
    config = run.config.label
    concepts = load_concepts(config.concepts)
    judge = make_judge(config.judge)
    neurons = run.neurons()
    lowest = lowest_layer(run) if config.min_layer is None else config.min_layer
    candidates = [
        (neuron, concept, tokens)
        for neuron, tokens in _signed_tokens(neurons.filter(pl.col("layer") >= lowest))
        for concept in concepts
        if len(seeds_among(tokens, concept)) >= config.min_seeds
    ]
    progress.begin("label", len(candidates))
    log = _JudgementLog(run.path / JUDGEMENTS)
    confirmed = []
    for neuron, concept, tokens in candidates:
        judgement = log.ask(judge, neuron, concept.ask(tokens))
        if judgement.get("verdict"):
            confirmed.append((neuron.layer, neuron.neuron, neuron.sign, concept.id))
        progress.advance(1)
    log.close()
    run.record_file("label", JUDGEMENTS, rows=log.rows)
    schema = {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8, "concept": pl.String}
    run.add_frame("label", "concepts.parquet", pl.DataFrame(confirmed, schema=schema, orient="row"))


def lowest_layer(run: Run) -> int:
    """The first layer that is labelled: the published code leaves out 6 of 32, and so, in proportion, do we."""
    n_layers: int = run.manifest.model["n_layers"]
    return round(n_layers * 6 / 32)


def _signed_tokens(neurons: pl.DataFrame) -> Iterator[tuple[SignedNeuron, tuple[str, ...]]]:
    columns = ("layer", "neuron", "hits_positive", "hits_negative", "promoted", "suppressed")
    for layer, neuron, positive, negative, promoted, suppressed in neurons.select(columns).iter_rows():
        if positive:
            yield SignedNeuron(layer, neuron, 1), tuple(promoted)
        if negative:
            yield SignedNeuron(layer, neuron, -1), tuple(suppressed)


class _JudgementLog:
    """``judgements.jsonl``: every reply, appended as it comes, and looked up before a judge is asked again."""

    def __init__(self, path: Path) -> None:
        known = read_jsonl(path)
        self._replies = {record["question_hash"]: record for record in known if record["status"] == "ok"}
        self.rows = len(known)
        self._file = open_for_appending(path)

    def ask(self, judge: Judge, neuron: SignedNeuron, question: Question) -> dict[str, Any]:
        asked = content_hash(
            judge.name, question.concept, question.text, sorted(question.words), question.tokens, neuron
        )
        if asked in self._replies:
            return self._replies[asked]
        judgement = judge.ask(question)
        record = {
            "neuron": str(neuron.id),
            "sign": neuron.sign,
            "concept": question.concept,
            "judge": judge.name,
            **asdict(judgement),
            "question_hash": asked,
        }
        self._file.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        self.rows += 1
        return record

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
