"""Algorithm One: the top-K neurons of every layer at every generated token, by one teacher-forced forward pass.

Step ``t`` is the ``t``-th generated token; its neurons are those at the position that predicted it, sequence index
``p - 1 + t`` for a prompt of ``p`` tokens. The source is Rai & Yao (2024), section 3; their code recomputes the whole
sequence for each token, which gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from cotlens.capture import TopKRecorder, capture_top_neurons
from cotlens.errors import InputError, NonFiniteError
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import Prefix, SuffixBatch, common_prefix_length, compute_prefix
from cotlens.store import RunWriter
from cotlens.types import Progress, TopNeurons

__all__ = ["discover_stage", "top_neurons"]

#: Tokens, padding included, per forward pass over completions. Fixed, so that results don't depend on free memory.
_BATCH_TOKENS = 2048

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "variant": pl.String,
    "question_id": pl.String,
    "step": pl.Int32,
    "token_id": pl.Int32,
    "layer": pl.Int32,
    "neuron": pl.List(pl.Int32),
    "coefficient": pl.List(pl.Float32),
    "score": pl.List(pl.Float32),
}


@torch.inference_mode()
def top_neurons(
    lm: LanguageModel, token_ids: Sequence[int], prompt_length: int, top_k: int = 20, ranker: str = "norm"
) -> TopNeurons:
    """The top-K neurons of every layer for each token after the prompt.

    One forward pass of the unmodified model; the text may come from any engine, or from a person.

    Args:
        lm: the model.
        token_ids: prompt and completion.
        prompt_length: how many of them are the prompt, at least 1; the rest are the ``T`` steps.
        top_k: neurons per layer and step.
        ranker: ``norm``, the score ``|m| * ||v||``.

    Returns:
        Arrays ``[T, L, K]``: neuron, signed coefficient, score; best first, ties by index.

    Raises:
        InputError: no step, an id out of range, or ``top_k`` above the layer's width.
        NonFiniteError: the activations are NaN or infinite.
    """
    steps = len(token_ids) - prompt_length
    if prompt_length < 1 or steps < 1:
        raise InputError(
            f"{len(token_ids)} tokens with a prompt of {prompt_length}: the prompt needs at least one token, and at "
            "least one more must follow it"
        )
    vocabulary = lm.input_vocabulary
    if not all(0 <= token < vocabulary for token in token_ids):
        raise InputError(f"a token id is out of range; {lm.name} has ids 0 to {vocabulary - 1}")
    with capture_top_neurons(lm, top_k, ranker) as recorder:
        recorder.positions = torch.arange(prompt_length - 1, len(token_ids) - 1, device=lm.device)
        lm.model.base_model(torch.tensor([list(token_ids[:-1])], device=lm.device), use_cache=False)
        return recorder.take()


@dataclass(frozen=True, slots=True)
class _Text:
    """A stored completion: the very token ids that were read and written."""

    variant: str
    question_id: str
    token_ids: list[int]
    prompt_length: int

    @property
    def steps(self) -> int:
        return len(self.token_ids) - self.prompt_length


def discover_stage(run: RunWriter, lm: LanguageModel, progress: Progress) -> None:
    """Algorithm One over a run: one part of activations for each part of completions."""
    config = run.config.discover
    parts = run.part_paths("generate", "completions/")
    progress.begin("discover", sum(pl.scan_parquet(part).select(pl.len()).collect().item() for part in parts))
    with capture_top_neurons(lm, config.top_k, config.ranker) as recorder:
        for part in parts:
            completions = pl.read_parquet(part)
            name = f"activations/{part.name}"
            if run.has_part("discover", name):
                progress.advance(completions.height)
                continue
            chosen = completions.filter("correct") if config.questions == "correct" else completions
            texts = [
                _Text(*row) for row in chosen.select("variant", "question_id", "token_ids", "prompt_length").rows()
            ]
            run.add_frame("discover", name, _discover_part(lm, recorder, texts, progress))
            progress.advance(completions.height - len(texts))


def _discover_part(lm: LanguageModel, recorder: TopKRecorder, texts: list[_Text], progress: Progress) -> pl.DataFrame:
    """The activations of all texts, in their order."""
    frames: dict[str, pl.DataFrame] = {}
    written = [text for text in texts if text.steps > 0]
    if written:
        shared = common_prefix_length([text.token_ids[: text.prompt_length] for text in written])
        recorder.positions = None
        prefix = compute_prefix(lm, written[0].token_ids[:shared])
        for batch in _batches(written, shared):
            frames |= _discover_batch(lm, recorder, prefix, batch)
            progress.advance(len(batch))
    progress.advance(len(texts) - len(written))
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *(frames[text.question_id] for text in written)])


def _discover_batch(
    lm: LanguageModel, recorder: TopKRecorder, prefix: Prefix, texts: list[_Text]
) -> dict[str, pl.DataFrame]:
    """One padded forward pass; the frame of each text."""
    suffixes = [text.token_ids[prefix.length : -1] for text in texts]  # the last token predicts nothing
    width = max(map(len, suffixes))
    # Rows are padded on the left, so a row's steps are its last positions.
    ends = [(place + 1) * width for place in range(len(texts))]
    recorder.positions = torch.cat(
        [torch.arange(end - text.steps, end) for end, text in zip(ends, texts, strict=True)]
    ).to(lm.device)
    SuffixBatch(lm, prefix, suffixes).encode_suffixes()
    try:
        found = recorder.take()
    except NonFiniteError as error:
        names = ", ".join(text.question_id for text in texts)
        raise NonFiniteError(f"{error}, variant {texts[0].variant!r}, among the questions {names}") from None
    bounds = np.cumsum([0, *(text.steps for text in texts)]).tolist()
    return {
        text.question_id: _frame(text, slice(start, end), found)
        for text, start, end in zip(texts, bounds[:-1], bounds[1:], strict=True)
    }


def _frame(text: _Text, part: slice, found: TopNeurons) -> pl.DataFrame:
    steps, layers, k = found.neuron[part].shape
    rows = steps * layers

    def lists(values: np.ndarray) -> pl.Series:
        return pl.Series(values[part].reshape(-1, k)).arr.to_list()

    return pl.DataFrame(
        {
            "variant": [text.variant] * rows,
            "question_id": [text.question_id] * rows,
            "step": np.repeat(np.arange(steps, dtype=np.int32), layers),
            "token_id": np.repeat(np.array(text.token_ids[text.prompt_length :], dtype=np.int32), layers),
            "layer": np.tile(np.arange(layers, dtype=np.int32), steps),
            "neuron": lists(found.neuron),
            "coefficient": lists(found.coefficient),
            "score": lists(found.score),
        },
        schema=_SCHEMA,
    )


def _batches(texts: list[_Text], shared: int) -> Iterator[list[_Text]]:
    """Texts in order of length, packed so that a padded batch stays within `_BATCH_TOKENS`."""
    batch: list[_Text] = []
    for text in sorted(texts, key=lambda text: len(text.token_ids)):
        if batch and (len(batch) + 1) * (len(text.token_ids) - shared) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch
