"""`generate`: greedy decoding of many prompts over a shared prefix, each under an intervention of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from cotlens.errors import EnvironmentFault, InputError
from cotlens.generate.batching import choose_batch_size
from cotlens.generate.lengths import check_lengths
from cotlens.generate.soundness import likeliest, unsound
from cotlens.generate.stopping import Stopped, StopRule
from cotlens.model.additive import Edit, terms_of
from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import is_out_of_memory
from cotlens.model.packed_weights import PackedWeights
from cotlens.model.shared_prefix import Prefixes, RowBatch, common_prefix_length
from cotlens.types import Completion

__all__ = ["Intervention", "OnProgress", "complete", "generate"]

#: Called with the number of completions that have just ended.
OnProgress = Callable[[int], None]
#: The edits that one prompt is completed under; none for the model as it is.
Intervention = Sequence[Edit]

#: Tokens of new rows per forward pass.
_TOKENS_AT_ONCE = 2048
#: From so many new tokens on it pays to order the weights first; for so many rows where their number is open.
_LONG, _MANY = 32, 64


def generate(
    lm: LanguageModel,
    prompts: Sequence[str | Sequence[int]],
    max_new_tokens: int = 150,
    stop: Sequence[str] = ("\n\nQuestion:",),
    batch_size: int | None = None,
    on_progress: OnProgress | None = None,
    interventions: Sequence[Intervention] | None = None,
    stop_at_end: bool = True,
) -> list[Completion]:
    """Continue every prompt greedily; each ends at a stop string, an end-of-sequence token, or the length.

    The longest beginning that all prompts have in common is computed once for each intervention, and held once. A row
    that ends makes room for the next prompt. A prompt's text does not depend on its batch mates: each token attends to
    its own row only, and positions are those of the prompt alone.

    Args:
        lm: the model.
        prompts: texts, or token ids where the caller has tokenised already.
        max_new_tokens: most tokens to generate per prompt.
        stop: texts that end a completion; they are not part of it.
        batch_size: most prompts per forward pass; None chooses from the free memory and by a short timing.
        on_progress: called with the number of completions that have just ended.
        interventions: the edits under which each prompt is completed, one entry per prompt, empty for none. Prompts
            with the same edits share the prefix, so give them the same object.
        stop_at_end: whether an end-of-sequence token ends a completion. If not, ``token_ids`` hold it and go on to a
            stop string or the length; ``text`` ends there all the same.

    Returns:
        One `Completion` per prompt, in the order given.

    Raises:
        InputError: an empty prompt, or one that does not fit in the model's context; as many interventions as prompts
            are needed; an edit of a neuron that the model has not got.
        NonFiniteError: the model's logits are NaN or infinite, or an intervention is so strong that it overflows.
        EnvironmentFault: not even one prompt fits in memory.
    """
    encoded = [lm.encode(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    done: dict[int, Completion] = {}
    rule = StopRule(lm, stop, max_new_tokens, stop_at_end)
    for index, completion in complete(lm, encoded, rule, batch_size, interventions):
        done[index] = completion
        if on_progress is not None:
            on_progress(1)
    return [done[index] for index in range(len(encoded))]


def complete(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    rule: StopRule,
    batch_size: int | None = None,
    interventions: Sequence[Intervention] | None = None,
    prefix_length: int | None = None,
    names: Sequence[str] | None = None,
) -> Iterator[tuple[int, Completion]]:
    """As `generate`, but gives each completion with its prompt's index as soon as it has ended.

    Prompts begin in their order, those under the intervention of the first before all others, and so on. Of what the
    prompts have in common the first ``prefix_length`` tokens are shared, all of it when that is None. ``names`` is what
    messages call the prompts.
    """
    max_new_tokens = rule.max_new_tokens
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; give at least 1")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1, or leave it out")
    if interventions is not None and len(interventions) != len(prompts):
        raise InputError(f"{len(interventions)} interventions for {len(prompts)} prompts; give one for each")
    if not prompts:
        return
    check_lengths(lm, prompts, max_new_tokens, names)
    group_of, distinct = _distinct(interventions or [()] * len(prompts))
    shared = common_prefix_length(prompts)
    if prefix_length is not None:
        shared = min(shared, prefix_length)
    rows = [
        _Row(index, group, list(ids[shared:])) for index, (group, ids) in enumerate(zip(group_of, prompts, strict=True))
    ]
    rows.sort(key=lambda row: row.group)
    prefixes = Prefixes(lm, prompts[0][:shared], [terms_of(lm, edits) for edits in distinct])
    longest = max(len(row.suffix) for row in rows)
    packed = PackedWeights.of(lm, min(len(rows), batch_size or _MANY)) if max_new_tokens >= _LONG else None
    if batch_size is None:
        batch_size = choose_batch_size(lm, longest, max_new_tokens, shared, len(rows), len(distinct), packed)
    decoding = _Decoding(lm, prefixes, rule, rows, batch_size, longest + max_new_tokens, packed)
    try:
        for row, stopped in decoding.run():
            yield row.index, Completion(tuple(prompts[row.index]), stopped.token_ids, stopped.text, stopped.reason)
    except _NoTokenError as error:
        row = error.row
        name = f"prompt {row.index}" if names is None else names[row.index]
        ids = [*prompts[row.index], *row.generated]
        raise unsound(lm, name, ids, len(row.generated), distinct[row.group]) from None


def _distinct(interventions: Sequence[Intervention]) -> tuple[list[int], list[Intervention]]:
    """The different interventions, and for each entry which of them it is."""
    distinct: list[Intervention] = []
    group_of: list[int] = []
    for edits in interventions:
        known = (n for n, other in enumerate(distinct) if other is edits or list(other) == list(edits))
        group = next(known, len(distinct))
        if group == len(distinct):
            distinct.append(edits)
        group_of.append(group)
    return group_of, distinct


@dataclass(slots=True)
class _Row:
    """One prompt while it is being continued."""

    index: int
    group: int
    suffix: list[int]
    generated: list[int] = field(default_factory=list)


class _NoTokenError(Exception):
    """The logits of a row tell no next token."""

    def __init__(self, row: _Row) -> None:
        super().__init__()
        self.row = row


class _Decoding:
    """Rows under way, and rows that wait for a place among them."""

    def __init__(
        self,
        lm: LanguageModel,
        prefixes: Prefixes,
        rule: StopRule,
        rows: Iterable[_Row],
        size: int,
        columns: int,
        packed: PackedWeights | None,
    ) -> None:
        self._lm = lm
        self._prefixes = prefixes
        self._rule = rule
        self._waiting = deque(rows)
        self._size = min(size, len(self._waiting))
        self._columns = columns
        self._packed = packed
        self._open()

    def _open(self) -> None:
        self._batch = RowBatch(self._lm, self._prefixes, self._size, self._columns, self._packed)
        self._rows: list[_Row] = []

    def run(self) -> Iterator[tuple[_Row, Stopped]]:
        """Decode until no row waits and all have ended; each row as it ends."""
        while self._waiting or self._rows:
            try:
                grown = self._begin() if self._may_begin() else self._append()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink()
                continue
            yield from self._ended(grown)

    def _may_begin(self) -> bool:
        """A few rows begin together, since each forward pass reads all weights."""
        free = self._size - len(self._rows)
        enough = min(len(self._waiting), max(1, self._size // 8))
        return bool(self._waiting) and self._batch.takes_more and free >= enough

    def _begin(self) -> range:
        """Read rows that waited, as many as there is room for; their places."""
        new: list[_Row] = []
        tokens = 0
        while self._waiting and len(self._rows) + len(new) < self._size:
            length = len(self._waiting[0].suffix) + len(self._waiting[0].generated)
            if new and self._lm.shares_prefix and tokens + length > _TOKENS_AT_ONCE:
                break
            tokens += length
            new.append(self._waiting.popleft())
        start = len(self._rows)
        self._rows += new
        logits = self._batch.begin([row.suffix + row.generated for row in new], [row.group for row in new])
        self._extend(new, logits)
        return range(start, len(self._rows))

    def _append(self) -> range:
        """Read the last token of every row; the places of all."""
        last = torch.tensor([row.generated[-1] for row in self._rows], device=self._lm.device)
        self._extend(self._rows, self._batch.append(last))
        return range(len(self._rows))

    @staticmethod
    def _extend(rows: Sequence[_Row], logits: torch.Tensor) -> None:
        tokens, sound = likeliest(logits)
        if not bool(sound.all()):
            raise _NoTokenError(rows[sound.tolist().index(False)])
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.generated.append(token)

    def _ended(self, grown: range) -> list[tuple[_Row, Stopped]]:
        """Take out the rows that have ended with their newest token."""
        ended = {place: stopped for place in grown if (stopped := self._rule.check(self._rows[place].generated))}
        gone = [(self._rows[place], stopped) for place, stopped in ended.items()]
        if ended:
            self._take_out(list(ended))
            here = {row.group for row in self._rows} | {row.group for row in self._waiting}
            for group in {row.group for row, _ in gone} - here:
                self._prefixes.forget(group)
        return gone

    def _take_out(self, places: Sequence[int]) -> None:
        """Without these rows; if memory does not suffice to move the others, they begin again."""
        try:
            order = self._batch.drop(places)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._rows = [row for place, row in enumerate(self._rows) if place not in places]
            self._shrink()
        else:
            self._rows = [self._rows[place] for place in order]

    def _shrink(self) -> None:
        """Go on with half as many places; what the rows have generated stays theirs."""
        self._waiting.extendleft(reversed(self._rows))
        if self._size == 1 and self._waiting:
            length = self._prefixes.length + len(self._waiting[0].suffix)
            raise EnvironmentFault(
                f"out of memory with one prompt of {length} tokens; "
                "try --dtype bfloat16 or a smaller generate.max_new_tokens"
            ) from None
        # Places take memory whether or not rows are in them.
        self._size = max(1, min(self._size, len(self._waiting)) // 2)
        self._open()
