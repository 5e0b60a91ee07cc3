"""From texts to top-K neurons: one reader for each kind of thing that rankers need.

A reader takes many texts that share a beginning, or one text alone. Coefficients and residual streams come from one
forward pass over all texts; gradients from a forward and a backward pass for each text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch

from cotlens.capture.gradients import step_gradients
from cotlens.capture.lens import LensRecorder
from cotlens.capture.passages import Passage
from cotlens.capture.rankers import LayerTrace, Ranker, find_ranker
from cotlens.capture.residuals import record_residuals
from cotlens.capture.top_k import (
    Recorder,
    best_of_layer,
    capture_top_neurons,
    check_top_k,
    concatenate,
    stack_layers,
)
from cotlens.capture.wiring import logit_multiplier
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import Encoding, Prefix, Prefixes, compute_prefix
from cotlens.types import TopNeurons

__all__ = ["Reader", "open_reader"]


@runtime_checkable
class Reader(Protocol):
    """Finds the top-K neurons of every layer at every step."""

    def read(self, prefix: Prefix, passages: Sequence[Passage]) -> TopNeurons:
        """The steps of all passages, which all go on from ``prefix``, one after the other."""
        ...

    def read_alone(self, passage: Passage) -> TopNeurons:
        """The steps of one passage, by the model's own forward pass where that serves."""
        ...


@contextlib.contextmanager
def open_reader(lm: LanguageModel, top_k: int, ranker: str, lens: LensRecorder | None = None) -> Iterator[Reader]:
    """A reader for ``ranker``; its hooks are gone after the block, whatever happens.

    What ``lens`` records is that of the steps of each `Reader.read`, without a pass of its own, but for rankers that
    need gradients.

    Raises:
        InputError: no such ranker, or ``top_k`` above the width.
        ModelFormatError: the ranker can't be used with this architecture.
    """
    chosen = find_ranker(ranker)
    check_top_k(lm, top_k)
    if chosen.needs == "coefficients":
        with capture_top_neurons(lm, top_k, ranker) as recorder:
            yield _ForwardReader(lm, recorder, lens)
    elif chosen.needs == "residuals":
        with record_residuals(lm, top_k, chosen) as residuals:
            yield _ForwardReader(lm, residuals, lens)
    else:
        yield _GradientReader(lm, top_k, chosen, lens)


class _ForwardReader:
    def __init__(self, lm: LanguageModel, recorder: Recorder, lens: LensRecorder | None) -> None:
        self._lm = lm
        self._recorder = recorder
        self._lens = lens

    @torch.inference_mode()
    def read(self, prefix: Prefix, passages: Sequence[Passage]) -> TopNeurons:
        encoding, positions = _encode(self._lm, prefix, passages)
        with self._recording(positions, [i for p in passages for i in p.targets]), _watching(self._lens, positions):
            encoding.run()
            return self._recorder.take()

    @torch.inference_mode()
    def read_alone(self, passage: Passage) -> TopNeurons:
        ids = list(passage.token_ids[:-1])
        with self._recording(list(range(passage.prompt_length - 1, len(ids))), passage.targets):
            self._lm.model.base_model(torch.tensor([ids], device=self._lm.device), use_cache=False)
            return self._recorder.take()

    @contextlib.contextmanager
    def _recording(self, positions: list[int], targets: list[int]) -> Iterator[None]:
        """Only the forward passes in the block are recorded; the prefix's is not."""
        self._recorder.positions = torch.tensor(positions, device=self._lm.device)
        self._recorder.targets = torch.tensor(targets, device=self._lm.device)
        try:
            yield
        finally:
            self._recorder.positions = self._recorder.targets = None
            self._recorder.forget()


class _GradientReader:
    def __init__(self, lm: LanguageModel, top_k: int, ranker: Ranker, lens: LensRecorder | None) -> None:
        self._lm = lm
        self._top_k = top_k
        self._ranker = ranker
        self._lens = lens
        self._norms = [ffn.value_norms() for ffn in lm.ffn]
        self._multiplier = logit_multiplier(lm)

    def read(self, prefix: Prefix, passages: Sequence[Passage]) -> TopNeurons:
        found = concatenate([self._read_one(prefix, passage) for passage in passages])
        if self._lens is not None:
            encoding, positions = _encode(self._lm, prefix, passages)
            with _watching(self._lens, positions):
                encoding.run()
        return found

    def read_alone(self, passage: Passage) -> TopNeurons:
        return self._read_one(compute_prefix(self._lm, passage.token_ids[: passage.prompt_length - 1]), passage)

    def _read_one(self, prefix: Prefix, passage: Passage) -> TopNeurons:
        layers = step_gradients(self._lm, prefix, passage.token_ids, passage.prompt_length)
        traces = (
            LayerTrace(layer.coefficient, norms, self._top_k, gradient=self._multiplier * layer.gradient)
            for layer, norms in zip(layers, self._norms, strict=True)
        )
        return stack_layers([best_of_layer(self._ranker, trace) for trace in traces])


def _encode(lm: LanguageModel, prefix: Prefix, passages: Sequence[Passage]) -> tuple[Encoding, list[int]]:
    """A forward pass over all passages, and where in it their steps are."""
    suffixes = [passage.token_ids[prefix.length : -1] for passage in passages]  # the last token predicts nothing
    encoding = Encoding(lm, Prefixes.ready(lm, prefix), suffixes, [0] * len(suffixes))
    spans = [range(end + 1 - passage.steps, end + 1) for end, passage in zip(encoding.ends, passages, strict=True)]
    return encoding, [i for span in spans for i in span]


@contextlib.contextmanager
def _watching(lens: LensRecorder | None, positions: list[int]) -> Iterator[None]:
    """The forward pass in the block is recorded, if it comes to its end."""
    if lens is None:
        yield
        return
    lens.positions = torch.tensor(positions)
    try:
        yield
        lens.finish()
    finally:
        lens.positions = None
        lens.forget()
