"""Whether logits tell a next token, and if they don't, where in the model that began.

NaN and infinity are no likelihoods. Nor are logits that are all equal: that is what a norm makes of a residual stream
whose squares overflow. Either would otherwise pass for a token like any other, as a rule the first of the vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from cotlens.errors import NonFiniteError
from cotlens.model.additive import Edit, added_to_all, terms_of
from cotlens.model.language_model import LanguageModel

__all__ = ["likeliest", "unsound"]


def likeliest(logits: Float[Tensor, "R V"]) -> tuple[Int64[Tensor, " R"], Bool[Tensor, " R"]]:
    """The token with the largest logit in each row, and whether the row tells one.

    A token of minus infinity is one that can't be, and does no harm.
    """
    tokens = logits.argmax(dim=-1)  # NaN counts as the largest
    largest = logits.gather(1, tokens[:, None])[:, 0]
    return tokens, largest.isfinite() & (largest > logits.amin(dim=-1))


def unsound(lm: LanguageModel, name: str, ids: Sequence[int], new: int, edits: Sequence[Edit]) -> NonFiniteError:
    """What is wrong with the logits after ``ids``, of which the last ``new`` were generated under ``edits``.

    ``name`` is what the message calls the prompt.
    """
    where = f"{name}: after {new} new tokens"
    layer = _first_broken_layer(lm, ids, edits)
    begins = "" if layer is None else f", from layer {layer} on"
    if edits and _first_broken_layer(lm, ids, ()) is None:
        edited = " and ".join(map(_describe, edits))
        return NonFiniteError(
            f"{where} the model's numbers overflow{begins}, under the intervention {edited}; it is too strong, use a "
            "weaker one (intervene.edits, doses)"
        )
    return NonFiniteError(
        f"{where} the model's logits are not finite (NaN or infinity), or overflow has made them all equal{begins}; "
        "check the weights, or use --dtype float32"
    )


def _describe(edit: Edit) -> str:
    """Such as ``Noise(sigma=1.0, seed=3) on 74 neurons``."""
    settings = {name: getattr(edit, name) for name in getattr(edit, "__dataclass_fields__", ())}
    told = ", ".join(
        f"{name}={value!r}" for name, value in settings.items() if isinstance(value, bool | int | float | str)
    )
    return f"{type(edit).__name__}({told}) on {len(edit.neurons)} neurons"


def _first_broken_layer(lm: LanguageModel, ids: Sequence[int], edits: Sequence[Edit]) -> int | None:
    """The first layer whose feed-forward block reads or writes numbers that, or whose squares, are not finite."""
    found: list[int] = []

    def look(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not found and not all(map(_holds, (inputs[0], output))):
                found.append(layer)

        return hook

    with added_to_all(lm, terms_of(lm, edits)), contextlib.ExitStack() as stack, _best_effort():
        for ffn in lm.ffn:
            stack.callback(ffn.down_projection.register_forward_hook(look(ffn.layer)).remove)
        lm.model.base_model(torch.tensor([list(ids)], device=lm.device), use_cache=False)
    return found[0] if found else None


def _holds(states: Tensor) -> bool:
    return bool(states.float().square().sum(dim=-1).isfinite().all())


@contextlib.contextmanager
def _best_effort() -> Iterator[None]:
    """What goes wrong in the search must not hide what it is about."""
    with torch.inference_mode(), contextlib.suppress(RuntimeError, MemoryError):
        yield
