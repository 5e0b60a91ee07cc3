"""The kinds of edits that a run can ask for. A new one is an entry in `KINDS`, and a name in `EditConfig`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cotlens.intervene.edits import Mean, Noise, Resample, Scale, Zero
from cotlens.intervene.reference import Reference
from cotlens.model.additive import Edit, Neurons

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """``make`` takes neurons, dose, seed and the reference text; ``is_random`` says whether the seed matters."""

    make: Callable[[Neurons, float, int, Reference], Edit]
    is_random: bool = False


KINDS: dict[str, Kind] = {
    "noise": Kind(lambda neurons, dose, seed, _: Noise(neurons, dose, seed), is_random=True),
    "zero": Kind(lambda neurons, dose, *_: Zero(neurons, dose)),
    "scale": Kind(lambda neurons, dose, *_: Scale(neurons, dose)),
    "mean": Kind(lambda neurons, dose, _, text: Mean(neurons, text.means, dose)),
    "resample": Kind(lambda neurons, dose, seed, text: Resample(neurons, text.tokens, seed, dose), is_random=True),
}
