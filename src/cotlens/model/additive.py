"""Terms added to what feed-forward blocks write: the form in which every intervention reaches the model.

To replace the value vectors ``v_i`` of some neurons by ``v_i + d_i`` is to add ``sum_i m_i d_i`` to the block's output.
The weights stay as they are, and each row of a batch can have terms of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cotlens.errors import InputError, NonFiniteError
from cotlens.model.architecture import FeedForward
from cotlens.model.language_model import LanguageModel
from cotlens.types import NeuronId

__all__ = ["Edit", "Neurons", "RowTerms", "Term", "Terms", "added_to_all", "terms_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """``m[index] @ change + constant``, added to the output of one layer's down projection.

    ``constant`` is for edits that put something in the place of what neurons write, whatever their coefficients are.
    """

    index: Int64[Tensor, " n"]
    change: Float[Tensor, "n D"]
    constant: Float[Tensor, " D"] | None = None

    def added(self, coefficients: Float[Tensor, "*T F"], output: Float[Tensor, "*T D"]) -> Float[Tensor, "*T D"]:
        """The output with this term."""
        output = output + coefficients[..., self.index] @ self.change
        return output if self.constant is None else output + self.constant

    def to(self, dtype: torch.dtype) -> Term:
        """The same in another precision."""
        constant = None if self.constant is None else self.constant.to(dtype)
        return Term(self.index, self.change.to(dtype), constant)


#: By layer; a layer that is not named stays as it is.
Terms = Mapping[int, Term]


Neurons = Sequence[tuple[int, int]]


@runtime_checkable
class Edit(Protocol):
    """A change of what ``neurons`` write."""

    @property
    def neurons(self) -> Neurons:
        """Pairs of layer and index."""
        ...

    def term(self, ffn: FeedForward, index: Int64[Tensor, " n"]) -> Term | None:
        """What is added to the output of one layer for its neurons ``index``, in fp32; None for no change."""
        ...


def terms_of(lm: LanguageModel, edits: Iterable[Edit]) -> Terms:
    """What ``edits`` together add to the output of each layer, in the model's precision.

    Raises:
        InputError: a neuron is out of range, or named twice by one edit.
        NonFiniteError: a change is not finite, or too large for its length to be told.
    """
    found: dict[int, list[Term]] = {}
    for edit in edits:
        for layer, index in _by_layer(lm, edit).items():
            ffn = lm.ffn[layer]
            term = edit.term(ffn, torch.tensor(index, device=ffn.value_vectors.device))
            if term is not None:
                term = term.to(lm.dtype)
                _check_size(edit, layer, term)
                found.setdefault(layer, []).append(term)
    return {layer: _sum(terms) for layer, terms in found.items()}


def _by_layer(lm: LanguageModel, edit: Edit) -> dict[int, list[int]]:
    neurons = [NeuronId(*pair) for pair in edit.neurons]
    if len(set(neurons)) != len(neurons):
        raise InputError(f"{type(edit).__name__}: a neuron is named twice")
    index: dict[int, list[int]] = {}
    for neuron in neurons:
        lm.check_neuron(neuron)
        index.setdefault(neuron.layer, []).append(neuron.neuron)
    return index


def _sum(terms: Sequence[Term]) -> Term:
    constants = [term.constant for term in terms if term.constant is not None]
    return Term(
        torch.cat([term.index for term in terms]),
        torch.cat([term.change for term in terms]),
        torch.stack(constants).sum(dim=0) if constants else None,
    )


def _check_size(edit: Edit, layer: int, term: Term) -> None:
    """Rows of a batch have terms of others with a weight of zero, which is harmless for finite numbers only."""
    finite = term.change.float().square().sum(dim=1).isfinite()
    if not bool(finite.all()):
        neuron = NeuronId(layer, int(term.index[finite.tolist().index(False)]))
        raise NonFiniteError(
            f"{neuron}: what {type(edit).__name__} adds to its value vector is not finite, or overflows in "
            f"{str(term.change.dtype).removeprefix('torch.')}; use a weaker intervention (intervene.edits, doses)"
        )


@contextlib.contextmanager
def added_to_all(lm: LanguageModel, terms: Terms) -> Iterator[None]:
    """Add ``terms`` at every token of every forward pass in the block; afterwards the model is what it was."""
    with _hooked(lm, {layer: term.added for layer, term in terms.items()}):
        yield


class RowTerms:
    """Adds to each row of a batch the terms of the group that it belongs to."""

    def __init__(self, lm: LanguageModel, groups: Sequence[Terms]) -> None:
        self._lm = lm
        self._groups = groups
        self._joined: tuple[list[int], dict[int, _Joined]] = [], {}

    @contextlib.contextmanager
    def added(self, groups: Sequence[int]) -> Iterator[None]:
        """While this is open, forward passes are over as many rows, or packed tokens, of these groups each."""
        here = sorted(set(groups))
        if len(here) == 1:  # so a row's numbers are those of a batch of its own group
            with added_to_all(self._lm, self._groups[here[0]]):
                yield
            return
        joined = self._join(here)
        place = {group: number for number, group in enumerate(here)}
        owner = torch.tensor([place[group] for group in groups], device=self._lm.device)
        with _hooked(self._lm, {layer: terms.to(owner) for layer, terms in joined.items()}):
            yield

    def _join(self, here: list[int]) -> dict[int, _Joined]:
        """The terms of the groups that are here, by layer; kept until others are."""
        if self._joined[0] != here:
            self._joined = [], {}  # frees what the last ones held
            terms = [self._groups[group] for group in here]
            layers = sorted({layer for some in terms for layer in some})
            self._joined = here, {layer: _Joined.of(terms, layer) for layer in layers}
        return self._joined[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """The terms of some groups in one layer: their neurons one after the other, each with the group that owns it."""

    index: Int64[Tensor, " N"]
    change: Float[Tensor, "N D"]
    owner: Int64[Tensor, " N"]
    constants: Float[Tensor, "G D"] | None

    @classmethod
    def of(cls, groups: Sequence[Terms], layer: int) -> _Joined:
        here = [(number, terms[layer]) for number, terms in enumerate(groups) if layer in terms]
        change = torch.cat([term.change for _, term in here])
        constants = None
        if any(term.constant is not None for _, term in here):
            constants = change.new_zeros(len(groups), change.shape[1])
            for number, term in here:
                if term.constant is not None:
                    constants[number] = term.constant
        return cls(
            torch.cat([term.index for _, term in here]),
            change,
            torch.cat([torch.full_like(term.index, number) for number, term in here]),
            constants,
        )

    def to(self, groups: Int64[Tensor, " B"]) -> Callable[[Tensor, Tensor], Tensor]:
        """What to do with coefficients and output of rows that belong to these groups."""
        own = groups[:, None] == self.owner.to(groups.device)  # [B, N]

        def add(coefficients: Tensor, output: Tensor) -> Tensor:
            # Rows may hold several tokens, or be tokens, packed in one row.
            mine = coefficients[..., self.index].reshape(len(own), -1, len(self.owner))  # [B, S, N]
            added = (mine * own[:, None].to(mine)) @ self.change
            if self.constants is not None:
                added = added + self.constants[groups.to(self.constants.device)][:, None]
            return output + added.view_as(output)

        return add


@contextlib.contextmanager
def _hooked(lm: LanguageModel, adding: Mapping[int, Callable[[Tensor, Tensor], Tensor]]) -> Iterator[None]:
    def hook(add: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda _, inputs, output: add(inputs[0], output)

    with contextlib.ExitStack() as stack:
        for layer, add in adding.items():
            stack.callback(lm.ffn[layer].down_projection.register_forward_hook(hook(add)).remove)
        yield
