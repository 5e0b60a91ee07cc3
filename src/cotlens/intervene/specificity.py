"""Specificity: what an intervention does to plain text and to questions without any calculation.

A model that has lost arithmetic alone still reads prose as well as before and still knows what bees make. Nothing is
generated: passages and options are read once by teacher forcing, and the log-probabilities of their tokens are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from cotlens.data.plain import (
    QUESTIONS_READ,
    TEXTS_READ,
    PlainQuestion,
    PlainText,
    load_plain_questions,
    load_plain_texts,
)
from cotlens.errors import EnvironmentFault
from cotlens.intervene.plain_rows import PlainRows, Row
from cotlens.model.additive import Edit, terms_of
from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import is_out_of_memory
from cotlens.model.shared_prefix import Encoding, Prefixes

__all__ = ["score_plain"]

#: Tokens, padding included, per forward pass. Fixed, so that results don't depend on free memory.
_TOKENS_AT_ONCE = 2048
#: Logits held at once, in numbers: 256 MiB of fp32.
_LOGITS_AT_ONCE = 2**26
#: An accelerator needs more at a time to be busy.
_ACCELERATED = 4
#: Logits worked on at once: few enough for a processor's cache.
_LOGITS_IN_CACHE = 2**20


def score_plain(
    lm: LanguageModel,
    interventions: Sequence[Sequence[Edit]],
    on_progress: Callable[[int], None] | None = None,
    texts: Sequence[PlainText] | None = None,
    questions: Sequence[PlainQuestion] | None = None,
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Read every passage and answer every question under each of ``interventions``.

    On a CPU each intervention is read by itself, so its numbers depend on no other, to the last bit; on an accelerator
    interventions share forward passes while these have room, and numbers may differ in fp32 rounding.

    Args:
        lm: the model.
        interventions: the edits that are in force together; an empty sequence is the untouched model.
        on_progress: called with the number of passages and questions that have just been scored.
        texts: the first `TEXTS_READ` bundled passages when None.
        questions: the first `QUESTIONS_READ` bundled questions when None.

    Yields:
        The index of an intervention, in order, with one row per item: ``measure``, ``text`` or ``questions``; ``item``,
        its id; ``tokens`` scored; ``log_prob``, natural logarithm, of a passage the sum over its tokens, of a question
        the mean over the tokens of the right option; ``correct``, whether that option has the largest such mean of all
        (ties: the first one), null for passages.

    Raises:
        InputError: an item that the model can't read, or a neuron that it has not got.
        NonFiniteError: a log-probability is NaN or infinite.
        EnvironmentFault: one item alone does not fit in memory.
    """
    plain = PlainRows(
        lm,
        load_plain_texts(limit=TEXTS_READ) if texts is None else texts,
        load_plain_questions(limit=QUESTIONS_READ) if questions is None else questions,
    )
    for together in _shares(lm, interventions, sum(len(row.ids) for row in plain.rows)):
        scorer = _Scorer(lm, [interventions[index] for index in together], plain)
        for index, log_probs in zip(together, scorer.log_probs(), strict=True):
            if on_progress is not None:
                on_progress(len(plain.texts) + len(plain.questions))
            yield index, plain.table(log_probs, _in_words(interventions[index]))


def _in_words(edits: Sequence[Edit]) -> str:
    return " and ".join(f"{type(edit).__name__} of {len(edit.neurons)} neurons" for edit in edits) or "no edit"


def _shares(lm: LanguageModel, interventions: Sequence[Sequence[Edit]], tokens: int) -> Iterator[list[int]]:
    """The interventions that are read together: as many as fill a forward pass, while the neurons that they edit, which
    every row of the pass computes, stay few beside a layer's."""
    together: list[int] = []
    neurons = 0
    for index, edits in enumerate(interventions):
        more = sum(len(edit.neurons) for edit in edits)
        full = lm.device.type == "cpu" or (len(together) + 1) * tokens > _tokens_at_once(lm)
        if together and (full or neurons + more > lm.d_ff):
            yield together
            together, neurons = [], 0
        together.append(index)
        neurons += more
    if together:
        yield together


def _tokens_at_once(lm: LanguageModel) -> int:
    least = min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // lm.unembedding.shape[0])
    return max(1, least) * (1 if lm.device.type == "cpu" else _ACCELERATED)


class _Scorer:
    """The same rows under a few interventions."""

    def __init__(self, lm: LanguageModel, interventions: Sequence[Sequence[Edit]], plain: PlainRows) -> None:
        self._lm = lm
        self._plain = plain
        self._groups = range(len(interventions))
        self._prefixes = Prefixes(lm, (), [terms_of(lm, edits) for edits in interventions])

    def log_probs(self) -> Float64[np.ndarray, "groups runs"]:
        """The summed log-probability of every passage and option."""
        sums = np.zeros((len(self._groups), self._plain.runs))
        for batch in self._batches():
            owners = [(group, asked.run) for group, row in batch for asked in row.asked]
            np.add.at(sums, tuple(np.array(owners).T), self._read(batch))
        return sums

    def _batches(self) -> Iterator[list[tuple[int, Row]]]:
        """Rows in order of length, packed so that a padded batch stays within the tokens at once; a row of which more
        is asked is read several times."""
        most = _tokens_at_once(self._lm)
        pieces = [piece for row in self._plain.rows for piece in row.pieces(most)]
        rows = sorted(((group, row) for row in pieces for group in self._groups), key=lambda r: len(r[1].ids))
        batch: list[tuple[int, Row]] = []
        for group, row in rows:
            if batch and (len(batch) + 1) * len(row.ids) > most:
                yield batch
                batch = []
            batch.append((group, row))
        if batch:
            yield batch

    def _read(self, batch: list[tuple[int, Row]]) -> Float64[np.ndarray, " n"]:
        """What a batch is asked for; where memory does not suffice, of one half after the other."""
        try:
            return self._forward(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise EnvironmentFault(
                    f"out of memory with one passage of {len(batch[0][1].ids)} tokens; give shorter ones, or try "
                    "--dtype bfloat16"
                ) from None
        middle = len(batch) // 2
        return np.concatenate([self._read(half) for half in (batch[:middle], batch[middle:])])

    @torch.inference_mode()
    def _forward(self, batch: list[tuple[int, Row]]) -> Float64[np.ndarray, " n"]:
        encoding = Encoding(self._lm, self._prefixes, [row.ids for _, row in batch], [group for group, _ in batch])
        places = [
            end + 1 - len(row.ids) + asked.place
            for end, (_, row) in zip(encoding.ends, batch, strict=True)
            for asked in row.asked
        ]
        # Options that begin alike ask the same place for several tokens.
        distinct, source = np.unique(places, return_inverse=True)
        logits = encoding.logits(torch.from_numpy(distinct))
        targets = torch.tensor([asked.token for _, row in batch for asked in row.asked])
        return _log_probs(logits, torch.from_numpy(source), targets).cpu().double().numpy()


def _log_probs(
    logits: Float[Tensor, "places V"], source: Int64[Tensor, " n"], targets: Int64[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Log-probability, in fp32, of each target after its place."""
    rows = max(1, _LOGITS_IN_CACHE // logits.shape[1])
    normaliser = torch.cat([chunk.float().logsumexp(dim=1) for chunk in torch.split(logits, rows)])
    source, targets = source.to(logits.device), targets.to(logits.device)
    return logits[source, targets].float() - normaliser[source]
