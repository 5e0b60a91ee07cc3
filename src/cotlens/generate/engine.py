"""`generate`: greedy decoding in batches over a shared prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cotlens.errors import EnvironmentFault, InputError
from cotlens.generate.batching import choose_batch_size
from cotlens.generate.stopping import Stopped, StopRule
from cotlens.model.language_model import LanguageModel
from cotlens.model.memory import is_out_of_memory
from cotlens.model.shared_prefix import Prefix, SuffixBatch, common_prefix_length, compute_prefix
from cotlens.types import Completion

__all__ = ["OnProgress", "check_lengths", "generate"]

#: Called with the number of completions that have just ended.
OnProgress = Callable[[int], None]


@dataclass(slots=True)
class _Row:
    """One prompt while it is being continued."""

    index: int
    suffix: list[int]
    generated: list[int] = field(default_factory=list)


def generate(
    lm: LanguageModel,
    prompts: Sequence[str | Sequence[int]],
    max_new_tokens: int = 150,
    stop: Sequence[str] = ("\n\nQuestion:",),
    batch_size: int | None = None,
    on_progress: OnProgress | None = None,
) -> list[Completion]:
    """Continue every prompt greedily; each ends at a stop string, an end-of-sequence token, or the length.

    The longest beginning that all prompts have in common is computed once. A prompt's text does not depend on its
    batch mates: padding is masked, and positions are those of the prompt alone.

    Args:
        lm: the model.
        prompts: texts, or token ids where the caller has tokenised already.
        max_new_tokens: most tokens to generate per prompt.
        stop: texts that end a completion; they are not part of it.
        batch_size: prompts per forward pass; None chooses from the free memory.
        on_progress: called with the number of completions that have just ended.

    Returns:
        One `Completion` per prompt, in the order given.

    Raises:
        InputError: an empty prompt, or one that does not fit in the model's context.
        EnvironmentFault: not even one prompt fits in memory.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; give at least 1")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1, or leave it out")
    encoded = [lm.encode(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    if not encoded:
        return []
    check_lengths(lm, encoded, max_new_tokens)

    shared = common_prefix_length(encoded)
    prefix = compute_prefix(lm, encoded[0][:shared])
    # Long suffixes together: less padding. The results go back to their places.
    waiting = sorted((_Row(index, ids[shared:]) for index, ids in enumerate(encoded)), key=lambda row: -len(row.suffix))
    size = batch_size or choose_batch_size(lm, max(len(row.suffix) for row in waiting), max_new_tokens, shared)
    rule = StopRule(lm, tuple(stop), max_new_tokens)
    done: dict[int, Completion] = {}
    while waiting:
        batch = waiting[:size]
        try:
            finished = _run_batch(lm, prefix, batch, rule, on_progress)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise EnvironmentFault(
                    f"out of memory with one prompt of {len(encoded[batch[0].index])} tokens; "
                    "try --dtype bfloat16 or a smaller generate.max_new_tokens"
                ) from None
            size = max(1, len(batch) // 2)
            waiting = [_Row(row.index, row.suffix) for row in waiting]
            continue
        for row, stopped in finished:
            done[row.index] = Completion(tuple(encoded[row.index]), stopped.token_ids, stopped.text, stopped.reason)
        waiting = waiting[len(batch) :]
    return [done[index] for index in range(len(encoded))]


def _run_batch(
    lm: LanguageModel, prefix: Prefix, rows: list[_Row], rule: StopRule, on_progress: OnProgress | None
) -> list[tuple[_Row, Stopped]]:
    """Decode until every row has stopped; a row that stops leaves the batch."""
    batch = SuffixBatch(lm, prefix, [row.suffix for row in rows], room=rule.max_new_tokens)
    finished: list[tuple[_Row, Stopped]] = []
    next_ids = _greedy(batch.read_suffixes())
    while True:
        going: list[int] = []
        for place, (row, token) in enumerate(zip(rows, next_ids.tolist(), strict=True)):
            row.generated.append(token)
            stopped = rule.check(row.generated)
            if stopped is None:
                going.append(place)
            else:
                finished.append((row, stopped))
        if on_progress is not None and len(going) < len(rows):
            on_progress(len(rows) - len(going))
        if not going:
            return finished
        if len(going) < len(rows):
            kept = torch.tensor(going, device=lm.device)
            batch.keep_rows(kept)
            rows, next_ids = [rows[place] for place in going], next_ids[kept]
        next_ids = _greedy(batch.read_token(next_ids))


def _greedy(logits: Tensor) -> Tensor:
    return logits.argmax(dim=-1)


def check_lengths(lm: LanguageModel, encoded: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    """Raise an `InputError` for a prompt that is empty, or too long for the model's context with its new tokens."""
    for index, ids in enumerate(encoded):
        if not ids:
            raise InputError(f"prompt {index} is empty, and the tokenizer adds no token of its own")
        limit = lm.context_length
        if limit is not None and len(ids) + max_new_tokens > limit:
            raise InputError(
                f"prompt {index} has {len(ids)} tokens; with {max_new_tokens} new ones it exceeds the context of "
                f"{limit} tokens; use fewer shots or a smaller generate.max_new_tokens"
            )
