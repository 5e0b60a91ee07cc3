"""Where each architecture keeps the parts that cotlens looks at.

An architecture is found by its modules, not by its name: the first `Layout` whose paths all exist is the one. To
support another, add one entry to `LAYOUTS`, or give it to `register_layout`. Whether the entry is right is then checked
on the model itself (`cotlens.model.self_check`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from cotlens.errors import ModelFormatError
from cotlens.model.feed_forward import FeedForward
from cotlens.model.quantised import is_projection
from cotlens.model.unknown import explain

__all__ = ["LAYOUTS", "FeedForward", "Layout", "feed_forwards", "find_layout", "find_module", "register_layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Dotted module paths of one family of architectures; a number in a path counts in a list, as in ``h.-1.ln``."""

    layers: str
    """From the model to the list of its decoder layers."""
    down_projection: str
    """From a layer to the linear module whose input are the coefficients of the neurons."""
    final_norm: str
    """From the model to the last norm before the unembedding."""
    post_norm: str | None = None
    """From a layer to the norm that the feed-forward output passes before it joins the residual stream, if any."""
    output_projection: str | None = None
    """From the model to a linear map between the final norm and the unembedding, if any."""


#: The first that fits is taken, so an entry that asks for more comes before one that asks for less.
LAYOUTS: tuple[Layout, ...] = (
    # Gemma 2, Gemma 3 (text), OLMo 2
    Layout("model.layers", "mlp.down_proj", "model.norm", post_norm="post_feedforward_layernorm"),
    # Gemma 3 (with images)
    Layout(
        "model.language_model.layers",
        "mlp.down_proj",
        "model.language_model.norm",
        post_norm="post_feedforward_layernorm",
    ),
    # GLM-4
    Layout("model.layers", "mlp.down_proj", "model.norm", post_norm="post_mlp_layernorm"),
    # HyperCLOVA X; without its extra norms there is an identity in their place
    Layout("model.layers", "mlp.down_proj", "model.norm", post_norm="post_norm2"),
    # Llama, SmolLM, Mistral, Qwen2, Qwen3, Phi-3, StableLM, Cohere, Granite
    Layout("model.layers", "mlp.down_proj", "model.norm"),
    # GPT-2
    Layout("transformer.h", "mlp.c_proj", "transformer.ln_f"),
    # Falcon, BLOOM
    Layout("transformer.h", "mlp.dense_4h_to_h", "transformer.ln_f"),
    # GPT-NeoX, Pythia
    Layout("gpt_neox.layers", "mlp.dense_4h_to_h", "gpt_neox.final_layer_norm"),
    # OPT
    Layout("model.decoder.layers", "fc2", "model.decoder.final_layer_norm"),
    # OPT-350m: each layer normalises the stream after it has written to it, so the last layer's norm is the final one.
    Layout(
        "model.decoder.layers",
        "fc2",
        "model.decoder.layers.-1.final_layer_norm",
        output_projection="model.decoder.project_out",
    ),
)

_registered: list[Layout] = []


def register_layout(layout: Layout) -> None:
    """Make another architecture known for the rest of this process; it is tried before the built-in ones."""
    if layout not in _registered:
        _registered.insert(0, layout)


def find_layout(model: nn.Module) -> Layout:
    """The layout that fits ``model``.

    Raises:
        ModelFormatError: an encoder-decoder, a mixture of experts, a recurrent model, or a decoder that no layout fits;
            the message then says how to describe it.
    """
    _refuse_other_kinds(model)
    for layout in (*_registered, *LAYOUTS):
        if _misfit(model, layout) is None:
            return layout
    raise ModelFormatError(explain(model, [f"{layout}: {_misfit(model, layout)}" for layout in _registered]))


def feed_forwards(model: nn.Module, layout: Layout) -> tuple[FeedForward, ...]:
    """The feed-forward block of every layer of a model that ``layout`` fits."""
    layers = find_module(model, layout.layers)
    assert isinstance(layers, nn.ModuleList)
    block_path = layout.down_projection.rpartition(".")[0]
    found = []
    for index, layer in enumerate(layers):
        down_projection = find_module(layer, layout.down_projection)
        assert down_projection is not None
        found.append(
            FeedForward(
                index,
                down_projection,
                block=find_module(layer, block_path) if block_path else None,
                post_norm=find_module(layer, layout.post_norm) if layout.post_norm else None,
            )
        )
    return tuple(found)


def find_module(root: nn.Module, path: str) -> nn.Module | None:
    """The module at the end of a dotted path, or None."""
    module: object = root
    for part in path.split("."):
        try:
            index = int(part)
        except ValueError:
            module = getattr(module, part, None)
        else:
            inside = isinstance(module, nn.ModuleList) and -len(module) <= index < len(module)
            module = module[index] if inside else None  # type: ignore[index]
    return module if isinstance(module, nn.Module) else None


def _misfit(model: nn.Module, layout: Layout) -> str | None:
    """What keeps ``layout`` from fitting, or None."""
    layers = find_module(model, layout.layers)
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        return f"the model has no list of layers at {layout.layers!r}"
    for path in (layout.final_norm, layout.output_projection):
        if path is not None and find_module(model, path) is None:
            return f"the model has nothing at {path!r}"
    for layer in layers:
        if layout.post_norm is not None and find_module(layer, layout.post_norm) is None:
            return f"a layer has nothing at {layout.post_norm!r}"
        projection = find_module(layer, layout.down_projection)
        if projection is None or not is_projection(projection):
            return f"a layer has no linear module at {layout.down_projection!r}"
    return None


def _refuse_other_kinds(model: nn.Module) -> None:
    name = type(model).__name__
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise ModelFormatError(f"{name}: an encoder-decoder model; cotlens looks at decoder-only language models")
    if any(path.rpartition(".")[2] == "experts" for path, _ in model.named_modules()):
        raise ModelFormatError(
            f"{name}: mixture-of-experts models are not supported yet; use a dense model of the same family"
        )
    if getattr(model, "_is_stateful", False):
        raise ModelFormatError(f"{name}: keeps a recurrent state; cotlens looks at models whose layers all attend")
