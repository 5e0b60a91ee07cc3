"""Concepts, from a YAML file that a user can write."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cotlens.errors import DataError, near_match
from cotlens.files import parse_yaml, read_text
from cotlens.judge.protocol import Question
from cotlens.judge.words import normalise

__all__ = ["Concept", "load_concepts"]


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept. ``seeds`` and ``words`` are normalised; ``words`` includes the seeds.

    ``description`` and ``negatives``, which say what counts and what does not, are for judges that read.
    """

    id: str
    name: str
    seeds: frozenset[str]
    words: frozenset[str]
    question: str
    description: str = ""
    negatives: tuple[str, ...] = ()

    def ask(self, tokens: tuple[str, ...], opposite: tuple[str, ...] = ()) -> Question:
        """The question whether a neuron that promotes ``tokens`` carries the concept."""
        return Question(self.id, self.question, self.words, tokens, opposite, self.description, self.negatives)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    name: str | None = Field(default=None, min_length=1)
    seeds: list[str] = Field(min_length=1)
    words: list[str] = []
    question: str = Field(min_length=1)
    description: str = ""
    negatives: list[str] = []


def load_concepts(path: str | None = None) -> list[Concept]:
    """The concepts of a YAML file; the published seven when ``path`` is None.

    Raises:
        DataError: no such file, or an entry that is not valid, naming file and entry.
    """
    if path is None:
        text = resources.files("cotlens.concepts").joinpath("published.yaml").read_text(encoding="utf-8")
        return _parse(text, "published.yaml")
    return _parse(read_text(Path(path).expanduser()), path)


def _parse(text: str, where: str) -> list[Concept]:
    items = parse_yaml(text, where)
    if not isinstance(items, list) or not items:
        raise DataError(f"{where}: expected a list of concepts, each with id, seeds and question")
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
        raise DataError(f"{where}: {_explain(error)}") from None
    seeds = frozenset(map(normalise, entry.seeds))
    if "" in seeds:
        raise DataError(f"{where}: seeds: a seed is empty, or holds nothing but spaces and quotation marks")
    words = seeds | frozenset(map(normalise, entry.words))
    return Concept(
        entry.id, entry.name or entry.id, seeds, words, entry.question, entry.description, tuple(entry.negatives)
    )


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "entry"
    hint = near_match(field, _Entry.model_fields) if first["type"] == "extra_forbidden" else ""
    return f"{field}: {first['msg']}{hint}"
