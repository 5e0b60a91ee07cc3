"""Algorithm One: the top-K neurons of every layer at every generated token, by one teacher-forced forward pass.

Step ``t`` is the ``t``-th generated token; its neurons are those at the position that predicted it, sequence index
``p - 1 + t`` for a prompt of ``p`` tokens. The source is Rai & Yao (2024), section 3; their code recomputes the whole
sequence for each token, which gives the same numbers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cotlens.capture import (
    RANKERS,
    LensRecorder,
    LensTop,
    Passage,
    Reader,
    concatenate,
    join_lenses,
    open_reader,
    record_lens,
)
from cotlens.capture.memory import Workload, check_memory, estimate_memory, kept_per_token
from cotlens.config import DiscoverConfig
from cotlens.errors import EnvironmentFault, NonFiniteError
from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import is_out_of_memory
from cotlens.model.shared_prefix import Prefix, compute_prefix
from cotlens.store import RunWriter
from cotlens.stored_texts import StoredVariant, stored_variants
from cotlens.types import Progress, TopNeurons

__all__ = ["ROWS_TOGETHER", "Discovery", "StoredText", "discover_stage", "open_discovery", "top_neurons"]

logger = logging.getLogger(__name__)

#: Tokens, padding included, per forward pass over completions. Fixed, so that results don't depend on free memory.
_BATCH_TOKENS = 2048
#: Bytes of residual streams kept per forward pass, for the rankers that need them; fixed for the same reason.
_KEPT_BYTES = 2**29
#: Rows in each row group of a part, about as many as a completion has: one can be read without all the others.
ROWS_TOGETHER = 4096

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
_LENS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "variant": pl.String,
    "question_id": pl.String,
    "step": pl.Int32,
    "layer": pl.Int32,
    "token_ids": pl.List(pl.Int32),
    "probabilities": pl.List(pl.Float32),
}


def top_neurons(
    lm: LanguageModel, token_ids: Sequence[int], prompt_length: int, top_k: int = 20, ranker: str = "norm"
) -> TopNeurons:
    """The top-K neurons of every layer for each token after the prompt.

    One forward pass of the unmodified model; the text may come from any engine, or from a person. The ranker ``grad``
    adds a backward pass.

    Args:
        lm: the model.
        token_ids: prompt and completion.
        prompt_length: how many of them are the prompt, at least 1; the rest are the ``T`` steps.
        top_k: neurons per layer and step.
        ranker: what the score is: ``norm``, ``|m| * ||v||``; ``signed``, ``m * ||v||``; ``dla``, the neuron's own part
            in the logit of the token generated; ``logprob``, by how much it raises that token's log-probability;
            ``grad``, coefficient times gradient of that logit. Exact definitions: `cotlens.capture.rankers`.

    Returns:
        Arrays ``[T, L, K]``: neuron, signed coefficient, score; best first, ties by index.

    Raises:
        InputError: no step, an id out of range, a text longer than the model's context, an unknown ranker, or ``top_k``
            above the layer's width.
        NonFiniteError: the activations are NaN or infinite.
        ModelFormatError: the ranker can't be used with this architecture.
    """
    passage = Passage(token_ids, prompt_length)
    passage.check(lm)
    with open_reader(lm, top_k, ranker) as reader:
        found = reader.read_alone(passage)
    return replace(found, tokens=tuple(lm.token_text(i) for i in token_ids[prompt_length:]))


@dataclass(frozen=True, slots=True)
class StoredText:
    """A stored completion: the very token ids that were read and written."""

    question_id: str
    passage: Passage


def discover_stage(run: RunWriter, lm: LanguageModel, progress: Progress) -> None:
    """Algorithm One over a run: one part of activations for each part of completions.

    What all prompts of a variant begin with is computed once for the variant; completions are read, and activations
    written, part by part, so that memory does not grow with the number of questions.
    """
    variants = stored_variants(run)
    _tell_short_samples(run.config.discover, variants)
    progress.begin("discover", sum(variant.rows for variant in variants))
    with open_discovery(run, lm, variants, progress, lens_tokens=run.config.discover.logit_lens) as discovery:
        for variant in variants:
            discovery.discover(variant)


def _tell_short_samples(config: DiscoverConfig, variants: Sequence[StoredVariant]) -> None:
    kind = "right answers" if config.questions == "correct" else "completions"
    for variant in variants:
        if config.sample is not None and len(variant.wanted) < config.sample:
            logger.warning(
                "discover: variant %r has %d %s, not %d as discover.sample asks for; all of them are read",
                variant.name, len(variant.wanted), kind, config.sample,
            )  # fmt: skip


@contextlib.contextmanager
def open_discovery(
    run: RunWriter,
    lm: LanguageModel,
    variants: Sequence[StoredVariant],
    progress: Progress,
    ranker: str | None = None,
    lens_tokens: int = 0,
) -> Iterator[Discovery]:
    """Hooks on the model, ready to read texts no larger than those of ``variants``; they are gone afterwards. Neurons
    are ranked by ``ranker``, the run's own when that is None. With ``lens_tokens`` the logit lens is recorded too."""
    config = run.config.discover
    ranker = ranker or config.ranker
    batch_tokens = _batch_tokens(lm, ranker)
    work = _workload(variants, batch_tokens, lens_tokens)
    check_memory(lm, estimate_memory(lm, RANKERS[ranker].needs, config.top_k, work))
    with contextlib.ExitStack() as stack:
        lens = stack.enter_context(record_lens(lm, lens_tokens)) if lens_tokens else None
        reader = stack.enter_context(open_reader(lm, config.top_k, ranker, lens))
        yield Discovery(run, lm, reader, progress, batch_tokens, lens)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the work on every variant has in common."""

    run: RunWriter
    lm: LanguageModel
    reader: Reader
    progress: Progress
    batch_tokens: int
    lens: LensRecorder | None

    def discover(self, variant: StoredVariant) -> None:
        """Write the parts of one variant that are not there yet."""
        prefix: Prefix | None = None
        for part in variant.parts:
            completions = pl.read_parquet(part)
            if self._has(part.name):
                self.progress.advance(completions.height)
                continue
            if prefix is None:
                prefix = compute_prefix(self.lm, variant.prefix)
            columns = variant.read(completions).select("question_id", "token_ids", "prompt_length")
            texts = [StoredText(question, Passage(ids, length)) for question, ids, length in columns.rows()]
            activations, lens = self._tables(variant.name, prefix, texts)
            self.run.add_frame("discover", f"activations/{part.name}", activations, ROWS_TOGETHER)
            if self.lens is not None:
                self.run.add_frame("discover", f"lens/{part.name}", lens, ROWS_TOGETHER)
            self.progress.advance(completions.height - len(texts))

    def _has(self, part: str) -> bool:
        folders = ("activations", "lens") if self.lens is not None else ("activations",)
        return all(self.run.has_part("discover", f"{folder}/{part}") for folder in folders)

    def part(self, variant: str, prefix: Prefix, texts: list[StoredText]) -> pl.DataFrame:
        """The activations of all texts, in their order."""
        return self._tables(variant, prefix, texts)[0]

    def _tables(self, variant: str, prefix: Prefix, texts: list[StoredText]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The activations of all texts, in their order; and their lens, without rows where it is not recorded."""
        activations: dict[str, pl.DataFrame] = {}
        lenses: dict[str, pl.DataFrame] = {}
        written = [text for text in texts if text.passage.steps > 0]
        for batch in _batches(written, prefix.length, self.batch_tokens):
            found, lens = self._read(variant, prefix, batch)
            bounds = np.cumsum([0, *(text.passage.steps for text in batch)]).tolist()
            for text, start, end in zip(batch, bounds[:-1], bounds[1:], strict=True):
                activations[text.question_id] = _frame(variant, text, slice(start, end), found)
                if lens is not None:
                    lenses[text.question_id] = _lens_frame(variant, text, slice(start, end), lens)
            self.progress.advance(len(batch))
        self.progress.advance(len(texts) - len(written))
        order = [text.question_id for text in written]
        return (
            pl.concat([pl.DataFrame(schema=_SCHEMA), *(activations[name] for name in order)]),
            pl.concat([pl.DataFrame(schema=_LENS_SCHEMA), *(lenses[name] for name in order if name in lenses)]),
        )

    def _read(self, variant: str, prefix: Prefix, batch: list[StoredText]) -> tuple[TopNeurons, LensTop | None]:
        """The steps of a batch; where memory does not suffice, of one half after the other."""
        try:
            found = self.reader.read(prefix, [text.passage for text in batch])
            return found, None if self.lens is None else self.lens.take()
        except NonFiniteError as error:
            names = ", ".join(text.question_id for text in batch)
            raise NonFiniteError(f"{error}, variant {variant!r}, among the questions {names}") from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise EnvironmentFault(_too_long(variant, batch[0])) from None
        middle = len(batch) // 2
        found, lenses = zip(
            *(self._read(variant, prefix, half) for half in (batch[:middle], batch[middle:])), strict=True
        )
        return concatenate(found), None if self.lens is None else join_lenses(lenses)


def _too_long(variant: str, text: StoredText) -> str:
    return (
        f"discover: out of memory with question {text.question_id} alone, variant {variant!r}, "
        f"{len(text.passage.token_ids)} tokens; use --device cpu, model.dtype=bfloat16 or a shorter "
        "generate.max_new_tokens"
    )


def _workload(variants: Sequence[StoredVariant], batch_tokens: int, lens_tokens: int) -> Workload:
    return Workload(
        prefix_tokens=max(len(variant.prefix) for variant in variants),
        own_tokens=max(variant.longest - len(variant.prefix) for variant in variants),
        text_steps=max(variant.most_steps for variant in variants),
        batch_tokens=batch_tokens,
        batch_texts=max(variant.most_texts for variant in variants),
        part_steps=max(variant.part_steps for variant in variants),
        lens_tokens=lens_tokens,
    )


def _frame(variant: str, text: StoredText, part: slice, found: TopNeurons) -> pl.DataFrame:
    keys = _keys(variant, text, found.neuron.shape[1])
    lists = {
        "neuron": _lists(found.neuron[part]),
        "coefficient": _lists(found.coefficient[part]),
        "score": _lists(found.score[part]),
    }
    return pl.DataFrame(keys | lists, schema=_SCHEMA)


def _lens_frame(variant: str, text: StoredText, part: slice, found: LensTop) -> pl.DataFrame:
    keys = _keys(variant, text, found.token.shape[1])
    del keys["token_id"]
    lists = {"token_ids": _lists(found.token[part]), "probabilities": _lists(found.probability[part])}
    return pl.DataFrame(keys | lists, schema=_LENS_SCHEMA)


def _keys(variant: str, text: StoredText, layers: int) -> dict[str, Any]:
    """What the rows of a text, one for each step and layer, belong to."""
    steps = text.passage.steps
    return {
        "variant": [variant] * steps * layers,
        "question_id": [text.question_id] * steps * layers,
        "step": np.repeat(np.arange(steps, dtype=np.int32), layers),
        "token_id": np.repeat(np.array(text.passage.targets, dtype=np.int32), layers),
        "layer": np.tile(np.arange(layers, dtype=np.int32), steps),
    }


def _lists(values: np.ndarray) -> pl.Series:
    return pl.Series(values.reshape(-1, values.shape[2])).arr.to_list()


def _batch_tokens(lm: LanguageModel, ranker: str) -> int:
    if RANKERS[ranker].needs != "residuals":
        return _BATCH_TOKENS
    return min(_BATCH_TOKENS, max(1, _KEPT_BYTES // kept_per_token(lm)))


def _batches(texts: list[StoredText], shared: int, batch_tokens: int) -> Iterator[list[StoredText]]:
    """Texts in order of length, packed so that a padded batch stays within ``batch_tokens``."""
    batch: list[StoredText] = []
    for text in sorted(texts, key=lambda text: len(text.passage.token_ids)):
        if batch and (len(batch) + 1) * (len(text.passage.token_ids) - shared) > batch_tokens:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch
