"""What to tell somebody whose architecture no layout fits: how to describe it, filled in as far as it can be seen."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from cotlens.model.quantised import is_projection, projection_shape

__all__ = ["explain"]

_ADVICE = """\
{name}: no known layout fits, so its feed-forward neurons can't be found. Describe it before loading, in Python:

    import cotlens
    from cotlens.model.architecture import Layout, register_layout

    register_layout(Layout(
        layers="{layers}",  # from the model to its decoder layers
        down_projection="{down_projection}",  # from a layer to the Linear whose input are the neurons
        final_norm="{final_norm}",  # from the model to the norm before the unembedding
        # post_norm="...",  # from a layer to a norm of the feed-forward output, if there is one
    ))
    lm = cotlens.load_model(...)

print(model) shows the names; those above are a guess. The view is checked against the model when it loads."""


def explain(model: nn.Module, misfits: Sequence[str] = ()) -> str:
    """A message with a complete example for this model; ``misfits`` says why the user's own layouts don't fit."""
    layers_path, layer = _layers(model)
    advice = _ADVICE.format(
        name=type(model).__name__,
        layers=layers_path,
        down_projection=_last_projection(layer),
        final_norm=_last_norm(model, layers_path),
    )
    return "\n".join([advice, *(f"Registered, but does not fit: {misfit}" for misfit in misfits)])


def _layers(model: nn.Module) -> tuple[str, nn.Module]:
    """Path of the list of modules that holds most parameters, and its first module."""
    lists = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.ModuleList) and module]
    if not lists:
        return "...", nn.Module()
    path, layers = max(lists, key=lambda found: sum(parameter.numel() for parameter in found[1].parameters()))
    return path, layers[0]


def _last_projection(layer: nn.Module) -> str:
    """The last linear module that narrows, or else the last linear module."""
    linear = [(path, projection_shape(module)) for path, module in layer.named_modules() if is_projection(module)]
    narrowing = [path for path, (outputs, inputs) in linear if inputs > outputs]
    return _last(narrowing or [path for path, _ in linear])


def _last_norm(model: nn.Module, layers_path: str) -> str:
    return _last(
        [
            path
            for path, _ in model.named_modules()
            if re.search(r"norm|ln", path.rpartition(".")[2]) and not path.startswith(f"{layers_path}.")
        ]
    )


def _last(paths: list[str]) -> str:
    return paths[-1] if paths else "..."
