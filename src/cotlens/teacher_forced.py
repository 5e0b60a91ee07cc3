"""One variant's completions read after every variant's prompt, so that the text is the same and the prompts differ.

What discovery records of a variant's own completions mixes two things: the prompt before the text, and the text that
the model went on to write. Here the very token ids of the reference's completions follow each variant's prompt, and the
neurons are recorded as in discovery.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from cotlens.capture import Passage
from cotlens.discover import Discovery, StoredText, open_discovery
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import compute_prefix
from cotlens.store import RunWriter
from cotlens.stored_texts import StoredVariant, stored_variants
from cotlens.types import Progress

__all__ = ["reread_stage"]

_FOLDER = "reread"


def reread_stage(run: RunWriter, lm: LanguageModel, progress: Progress) -> None:
    """Write ``reread/VARIANT-NNNN.parquet`` for every variant but the reference, in the columns of ``activations/``.

    A step is a token of the reference's completion, whatever the variant. The reference's own part would be that of
    discovery. Questions are those whose completion under the reference was recorded.

    Raises:
        InputError: a prompt and the text after it are longer than the model's context.
    """
    variants = stored_variants(run)
    reference = run.config.analyze.reference_of(run.config.prompt.variants)
    [source] = [variant for variant in variants if variant.name == reference]
    others = [_as_long_as(variant, source) for variant in variants if variant.name != reference]
    progress.begin("reread", sum(variant.rows for variant in others))
    if not others:
        return
    written = _completions(source)
    with open_discovery(run, lm, others, progress) as discovery:
        for variant in others:
            _reread(discovery, variant, written)


def _as_long_as(variant: StoredVariant, source: StoredVariant) -> StoredVariant:
    """``variant`` with the sizes that its prompts have with the completions of ``source``."""
    return replace(
        variant,
        longest=variant.longest + source.most_steps,
        most_steps=source.most_steps,
        part_steps=variant.most_texts * source.most_steps,
    )


def _completions(source: StoredVariant) -> dict[str, list[int]]:
    """The generated tokens of each question that discovery read."""
    rows = pl.concat(
        source.read(pl.read_parquet(part, columns=["question_id", "token_ids", "prompt_length"]))
        for part in source.parts
    )
    return {question: ids[length:] for question, ids, length in rows.rows()}


def _reread(discovery: Discovery, variant: StoredVariant, written: Mapping[str, list[int]]) -> None:
    prefix = None
    for part in variant.parts:
        name = f"{_FOLDER}/{part.name}"
        asked = pl.read_parquet(part, columns=["question_id", "token_ids", "prompt_length"]).rows()
        if discovery.run.has_part("reread", name):
            discovery.progress.advance(len(asked))
            continue
        if prefix is None:
            prefix = compute_prefix(discovery.lm, variant.prefix)
        texts = [
            StoredText(question, Passage([*ids[:length], *written[question]], length))
            for question, ids, length in asked
            if question in written
        ]
        for text in texts:
            if text.passage.steps:
                text.passage.check(discovery.lm)
        discovery.run.add_frame("reread", name, discovery.part(variant.name, prefix, texts))
        discovery.progress.advance(len(asked) - len(texts))
