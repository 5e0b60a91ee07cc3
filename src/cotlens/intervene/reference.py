"""What neurons do in plain text, for the edits that put that in the place of what they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from cotlens.capture import mean_coefficients, reference_coefficients
from cotlens.data.plain import load_plain_texts
from cotlens.model.language_model import LanguageModel

__all__ = ["Reference"]

#: The first token of a text is one that many models attend to in order to attend to nothing.
_SKIP = 1


class Reference:
    """A reference text as a model reads it; read when first asked for."""

    def __init__(self, load: Callable[[], LanguageModel], source: str) -> None:
        self._load = load
        self._source = source

    @cached_property
    def means(self) -> list[np.ndarray]:
        """The mean coefficients, ``[F]`` per layer."""
        return mean_coefficients(self._load(), self._texts, _SKIP)

    @cached_property
    def tokens(self) -> list[np.ndarray]:
        """The coefficients at some tokens, ``[T, F]`` per layer."""
        return reference_coefficients(self._load(), self._texts, skip=_SKIP)

    @cached_property
    def _texts(self) -> list[str]:
        return [text.text for text in load_plain_texts(self._source)]
