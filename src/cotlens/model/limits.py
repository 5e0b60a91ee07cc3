"""What a model's size allows, told from its settings: before torch is imported, and before weights load.

Where the settings don't state a size, nothing is refused here; whoever uses the number checks it on the model itself.
"""

from __future__ import annotations

from cotlens.errors import InputError
from cotlens.model.source import ModelSource

__all__ = ["check_neuron_count", "check_token_count", "check_token_id", "check_top_k"]


def check_top_k(source: ModelSource, option: str, count: int) -> None:
    """Raise an `InputError` if no layer has ``count`` neurons; ``option`` is what the user calls it."""
    width = source.facts_if_readable().width
    _check_count(option, count, width, f"{source.name} has {width} neurons per layer")


def check_neuron_count(source: ModelSource, option: str, count: int) -> None:
    """Raise an `InputError` if all layers together have fewer than ``count`` neurons."""
    facts = source.facts_if_readable()
    every = facts.layers * facts.width if facts.layers and facts.width else None
    _check_count(option, count, every, f"{source.name} has {every} neurons")


def check_token_count(source: ModelSource, option: str, count: int) -> None:
    """Raise an `InputError` if the vocabulary has fewer than ``count`` tokens."""
    size = source.facts_if_readable().vocabulary
    _check_count(option, count, size, f"the vocabulary of {source.name} has {size} tokens")


def check_token_id(source: ModelSource, option: str, token_id: int) -> None:
    """Raise an `InputError` if the vocabulary has no token ``token_id``."""
    size = source.facts_if_readable().vocabulary
    if token_id < 0 or (size is not None and token_id >= size):
        known = f"{source.name} has 0 to {size - 1}" if size is not None else "ids begin at 0"
        raise InputError(f"{option} {token_id}: out of range; {known}")


def _check_count(option: str, count: int, most: int | None, why: str) -> None:
    if most is None and count < 1:
        raise InputError(f"{option} {count}: give 1 or more")
    if most is not None and not 1 <= count <= most:
        raise InputError(f"{option} {count}: {why}, so give 1 to {most}")
