"""Texts of a run in which a labelled neuron is active at one token, and texts in which it is not.

Labels are made from a neuron's projection alone, so every text is held out from the label that it tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from cotlens.concepts.concept import Concept
from cotlens.judge.book import Asked
from cotlens.judge.protocol import DetectionQuestion
from cotlens.store import Run
from cotlens.types import SignedNeuron

__all__ = ["plan_detection"]

#: Tokens shown before and after the marked one.
_BEFORE, _AFTER = 40, 8
_PLACE = ["variant", "question_id", "step"]


def plan_detection(
    run: Run, labelled: Sequence[tuple[SignedNeuron, Concept]], labels: int, contexts: int, seed: int
) -> list[Asked]:
    """Questions on ``labels`` of the labelled neurons, with ``contexts`` texts of each sort."""
    rng = np.random.default_rng([seed, 3])
    chosen = sorted(rng.permutation(len(labelled))[:labels].tolist())
    texts = run.scan_tokens().filter(part="completion").sort("variant", "question_id", "position").collect()
    written = {key: group["text"].to_list() for key, group in texts.group_by("variant", "question_id")}
    asked = []
    for place in chosen:
        neuron, concept = labelled[place]
        places = _places(run, neuron)
        for expected in (True, False):
            found = places.filter(active=expected).select(_PLACE).rows()
            for tag, row in enumerate(sorted(rng.permutation(len(found))[:contexts].tolist())):
                variant, question, step = found[row]
                question_text = _question(concept, written[variant, question], step)
                asked.append(Asked(question_text, "detection", neuron, 2 * tag + expected, expected))
    return asked


def _places(run: Run, neuron: SignedNeuron) -> pl.DataFrame:
    """Every recorded step of the first variant, and whether the neuron is active there with its sign."""
    rows = run.scan_activations().filter(pl.col("layer") == neuron.layer, variant=run.config.prompt.variants[0])
    steps = rows.select(_PLACE).collect()
    active = (
        rows.select(*_PLACE, "neuron", "coefficient")
        .explode("neuron", "coefficient")
        .filter(pl.col("neuron") == neuron.neuron, pl.col("coefficient").sign() == neuron.sign)
        .select(*_PLACE, active=pl.lit(True))
        .collect()
    )
    return steps.join(active, on=_PLACE, how="left").with_columns(pl.col("active").fill_null(False)).sort(_PLACE)


def _question(concept: Concept, tokens: list[str], step: int) -> DetectionQuestion:
    return DetectionQuestion(
        concept=concept.id,
        name=concept.name,
        description=concept.description,
        before="".join(tokens[max(0, step - _BEFORE) : step]),
        token=tokens[step],
        after="".join(tokens[step + 1 : step + 1 + _AFTER]),
    )
