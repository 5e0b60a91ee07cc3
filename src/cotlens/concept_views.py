"""Concepts and judges as `cotlens concepts` shows them: what there is, and what a seed filter lets through."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotlens.concepts import Concept, load_concepts, seeds_among
from cotlens.concepts.candidates import signed_tokens
from cotlens.judge.registry import JUDGES
from cotlens.store import open_run
from cotlens.types import Progress

if TYPE_CHECKING:
    from cotlens.model.language_model import LanguageModel

__all__ = ["list_concepts", "list_judges", "try_on_model", "try_on_run"]

#: Tokens at each end, as a run projects by default.
_TOP_N = 20


def list_concepts(file: str | None) -> dict[str, Any]:
    """The concepts of a file, or the published ones."""
    rows = [
        {
            "id": concept.id,
            "name": concept.name,
            "seeds": sorted(concept.seeds),
            "words": sorted(concept.words - concept.seeds),
            "question": concept.question,
            "description": concept.description,
            "negatives": list(concept.negatives),
        }
        for concept in load_concepts(file)
    ]
    return {"file": file or "the published seven", "concepts": rows}


def list_judges() -> dict[str, Any]:
    """The kinds of judges, and whether the key of each is set."""
    rows = [
        {"judge": kind.form, "what": kind.what, "key": kind.key or None, "key_set": bool(os.environ.get(kind.key))}
        for kind in JUDGES.values()
    ]
    return {"judges": rows}


def try_on_run(file: str | None, run_dir: Path, min_seeds: int) -> dict[str, Any]:
    """How many neurons that were active in a run pass the seed filter of each concept."""
    run = open_run(run_dir)
    signed = [(item.neuron.id, item.tokens) for item in signed_tokens(run)]
    return _passing(load_concepts(file), signed, min_seeds) | {"tried_on": str(run_dir)}


def try_on_model(file: str | None, lm: LanguageModel, min_seeds: int, progress: Progress) -> dict[str, Any]:
    """How many of a model's neurons pass the filter, with either sign; layers as a run would label them."""
    from cotlens.project import project
    from cotlens.project.projection import all_neurons

    concepts = load_concepts(file)
    lowest = round(lm.n_layers * 6 / 32)
    neurons = [pair for pair in all_neurons(lm) if pair[0] >= lowest]
    progress.begin("project", len(neurons))
    found = project(lm, neurons, _TOP_N, "none", progress.advance)
    texts: dict[int, str] = {}
    signed = []
    for neuron, *ends in zip(neurons, found.promoted_ids.tolist(), found.suppressed_ids.tolist(), strict=True):
        for ids in ends:
            tokens = tuple(texts[i] if i in texts else texts.setdefault(i, lm.token_text(i)) for i in ids)
            signed.append((neuron, tokens))
    return _passing(concepts, signed, min_seeds) | {"tried_on": lm.name}


def _passing(concepts: Iterable[Concept], signed: list[tuple[Any, tuple[str, ...]]], min_seeds: int) -> dict[str, Any]:
    counts = {}
    asked = 0
    for concept in concepts:
        passing = [neuron for neuron, tokens in signed if len(seeds_among(tokens, concept)) >= min_seeds]
        counts[concept.id] = {"signed": len(passing), "neurons": len(set(passing))}
        asked += len(passing)
    return {"passing": counts, "questions": asked, "signed_neurons": len(signed), "min_seeds": min_seeds}
