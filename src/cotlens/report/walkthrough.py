"""One completion, token by token, with the reasoning neurons behind each token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cotlens.report.text import readable
from cotlens.store import Run
from cotlens.tokens import visible
from cotlens.types import SignedNeuron

__all__ = ["Active", "Step", "Walk", "token_pieces", "walk_through"]

_REPLACEMENT = "\ufffd"
#: Known tokens that must follow a gap for the text of the unknown ones in it to be believed.
_ANCHOR = 6


@dataclass(frozen=True, slots=True)
class Active:
    """A reasoning neuron that is active at a step. ``rank`` counts from 1 within the layer's top-K."""

    name: str
    concepts: tuple[str, ...]
    coefficient: float
    rank: int
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A generated token, and the neurons active at the position that predicted it."""

    index: int
    text: str
    breaks: int
    neurons: tuple[Active, ...]

    @property
    def concepts(self) -> list[str]:
        """The concepts active here, the one with most neurons first."""
        return [concept for concept, _ in Counter(c for n in self.neurons for c in n.concepts).most_common()]


@dataclass(frozen=True, slots=True)
class Walk:
    """A question and the model's answer to it. ``busiest`` is the step with most reasoning neurons."""

    question: str
    gold: str
    answer: str
    variant: str
    correct: bool
    steps: tuple[Step, ...]

    @property
    def busiest(self) -> int:
        return max(range(len(self.steps)), key=lambda index: len(self.steps[index].neurons))


def walk_through(run: Run, concepts: pl.DataFrame, neurons: pl.DataFrame) -> Walk | None:
    """A completion chosen for being correct, with an equation, and short; None if no activations are stored."""
    completion = _choose(run)
    if completion is None:
        return None
    ids = completion["token_ids"][completion["prompt_length"] :]
    active = _active_neurons(run, completion, concepts, neurons)
    pieces = token_pieces(completion["text"], ids, _known_tokens(neurons, ids))
    steps = [
        Step(index, visible(piece) if piece else f"‹{token}›", piece.count("\n"), tuple(active.get(index, ())))
        for index, (piece, token) in enumerate(zip(pieces, ids, strict=True))
    ]
    return Walk(
        question=readable(completion["question"]),
        gold=readable(completion["gold"] or "–", 60),
        answer=readable(completion["answer_strict"] or "none", 60),
        variant=readable(completion["variant"], 40),
        correct=completion["correct"],
        steps=tuple(steps),
    )


def token_pieces(text: str, ids: Sequence[int], known: Mapping[int, str]) -> list[str]:
    """The text of each token. A run has no tokenizer, so ``text`` itself tells what the ``known`` tokens leave open.

    The text of several unknown tokens in a row goes to the first of them; what can't be told is the empty string.
    """
    pieces = [""] * len(ids)
    position = index = 0
    while index < len(ids):
        piece = known.get(ids[index], "")
        if index == 0 and piece and not text.startswith(piece):
            piece = piece.removeprefix(" ")  # some tokenizers drop the first token's space from a text
        if piece and text.startswith(piece, position):
            pieces[index] = piece
            position += len(piece)
            index += 1
            continue
        after = index + 1
        while after < len(ids) and not known.get(ids[after]):
            after += 1
        anchor = "".join(known.get(token, "") for token in _known_run(ids, after, known))
        # Without anything known behind it, the gap reaches to the end of the text.
        end = text.find(anchor, position + 1) if anchor else len(text)
        if end < 0 or position >= len(text):
            # A text is cut where a stop string begins, so its tokens can go on; of those only what is known is shown.
            return pieces[:index] + [known.get(token, "") for token in ids[index:]]
        pieces[index] = text[position:end]
        position, index = end, after
    return pieces


def _known_run(ids: Sequence[int], start: int, known: Mapping[int, str]) -> Sequence[int]:
    end = start
    while end < min(len(ids), start + _ANCHOR) and known.get(ids[end]):
        end += 1
    return ids[start:end]


def _choose(run: Run) -> dict[str, Any] | None:
    first = run.config.prompt.variants[0]
    recorded = run.scan_activations().filter(step=0, layer=0).select("variant", "question_id").unique().collect()
    table = (
        run.completions()
        .join(recorded, on=["variant", "question_id"], how="semi", maintain_order="left")
        .with_columns(
            first=pl.col("variant") == first,
            equation=pl.col("text").str.contains(r"\d\s*[-+*/×÷]\s*\d.*=", literal=False),
            length=pl.col("token_ids").list.len() - pl.col("prompt_length"),
        )
        .sort("correct", "first", "equation", "length", descending=[True, True, True, False], maintain_order=True)
    )
    return next(table.head(1).iter_rows(named=True), None)


def _active_neurons(
    run: Run, completion: Mapping[str, Any], concepts: pl.DataFrame, neurons: pl.DataFrame
) -> dict[int, list[Active]]:
    """The reasoning neurons active at each step, by layer and rank."""
    keys = ["layer", "neuron", "sign"]
    named = concepts.group_by(keys).agg(pl.col("concept").sort())
    found = (
        run.scan_activations()
        .filter(pl.col("variant") == completion["variant"], pl.col("question_id") == completion["question_id"])
        .select("step", "layer", "neuron", "coefficient", rank=pl.int_ranges(1, pl.col("neuron").list.len() + 1))
        .explode("neuron", "coefficient", "rank")
        .with_columns(sign=pl.col("coefficient").sign().cast(pl.Int8))
        .join(named.lazy(), on=keys)
        .join(neurons.lazy().select("layer", "neuron", "promoted", "suppressed"), on=["layer", "neuron"])
        .sort("step", "layer", "rank")
        .collect()
    )
    active: dict[int, list[Active]] = {}
    for row in found.iter_rows(named=True):
        tokens = row["promoted"] if row["sign"] > 0 else row["suppressed"]
        neuron = Active(
            name=str(SignedNeuron(row["layer"], row["neuron"], row["sign"])),
            concepts=tuple(row["concept"]),
            coefficient=row["coefficient"],
            rank=row["rank"],
            tokens=tuple(visible(token) for token in tokens[:8]),
        )
        active.setdefault(row["step"], []).append(neuron)
    return active


def _known_tokens(neurons: pl.DataFrame, ids: Sequence[int]) -> dict[int, str]:
    """The text of those ``ids`` that some neuron promotes or suppresses; parts of a character are left out."""
    wanted = pl.Series(list(set(ids)), dtype=pl.Int32).implode()
    found = pl.concat(
        neurons.select(pl.col(column).alias("text"), pl.col(f"{column}_ids").cast(pl.List(pl.Int32)).alias("id"))
        .explode("text", "id")
        .filter(pl.col("id").is_in(wanted))
        .unique()
        for column in ("promoted", "suppressed")
    )
    return {token: text for text, token in found.iter_rows() if _REPLACEMENT not in text}
