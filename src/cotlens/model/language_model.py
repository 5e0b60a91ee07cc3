"""`LanguageModel`: a Hugging Face model and tokenizer with the view of its neurons beside them."""

from __future__ import annotations

from functools import cached_property
from operator import index
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cotlens.errors import InputError, ModelFormatError
from cotlens.model.architecture import FeedForward, feed_forwards, find_layout, find_module
from cotlens.model.attention_interface import uses_attention_interface
from cotlens.model.feed_forward import norm_gain
from cotlens.model.quantised import keep_packing
from cotlens.model.reading import context_length, decode, encode, end_ids
from cotlens.model.self_check import check_feed_forward
from cotlens.types import NeuronId

__all__ = ["LanguageModel"]


class LanguageModel:
    """A causal language model, its tokenizer, and the feed-forward view of each layer.

    The model is the unmodified Hugging Face one, in evaluation mode; cotlens never edits a weight. The view of every
    layer is checked.

    Raises:
        ModelFormatError: no layout fits the architecture, or the one that fits describes it wrongly.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "") -> None:
        self.model: PreTrainedModel = model.eval()
        self.tokenizer = tokenizer
        self.name = name or str(getattr(model.config, "name_or_path", "")) or type(model).__name__
        self._layout = find_layout(model)
        self.ffn: tuple[FeedForward, ...] = feed_forwards(model, self._layout)
        keep_packing(model)
        for ffn in self.ffn:
            check_feed_forward(ffn, self.name)
        self._check_unembedding()

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def n_layers(self) -> int:
        return len(self.ffn)

    @property
    def d_ff(self) -> int:
        """Neurons per layer (the largest, should layers differ)."""
        return max(ffn.width for ffn in self.ffn)

    @property
    def d_model(self) -> int:
        return self.ffn[0].d_model

    @property
    def context_length(self) -> int | None:
        """Longest sequence in tokens, where the model's configuration states one."""
        config = self.model.config.get_text_config()
        names = ("max_position_embeddings", "rope_parameters", "original_max_position_embeddings")
        return context_length({name: getattr(config, name, None) for name in names})

    @property
    def unembedding(self) -> Float[Tensor, "V D"]:
        """``W_U``: a view of the output embedding's weight, or, in fp32, its product with the projection before it."""
        return self._output_weight if self._output_projection is None else self._folded_unembedding

    @property
    def final_norm_gain(self) -> Float[Tensor, " D"]:
        """Gain of the norm before the unembedding, fp32."""
        return norm_gain(self.final_norm, self.d_model)

    @property
    def final_norm(self) -> nn.Module:
        """The last norm before the unembedding."""
        norm = find_module(self.model, self._layout.final_norm)
        assert norm is not None
        return norm

    @property
    def soft_cap(self) -> float | None:
        """What no logit exceeds in size, where the model puts a soft cap on them (Gemma 2)."""
        cap: float | None = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return cap

    @cached_property
    def shares_prefix(self) -> bool:
        """Whether texts with a common beginning can attend to one copy of it (see `cotlens.model.shared_prefix`)."""
        return uses_attention_interface(self.model, self.ffn[0].down_projection)

    @property
    def input_vocabulary(self) -> int:
        """Number of token ids that the model can read; may differ from the tokenizer's."""
        embeddings: Any = self.model.get_input_embeddings()
        return int(embeddings.weight.shape[0])

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end a text: what the model's generation settings and its tokenizer name."""
        return end_ids(self.tokenizer, getattr(self.model.generation_config, "eos_token_id", None))

    def encode(self, text: str, special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``, with the special tokens that the tokenizer puts before it unless told otherwise."""
        return encode(self.tokenizer, self.stop_ids, text, special_tokens)

    def offsets(self, text: str, ids: list[int], special_tokens: bool = True) -> list[tuple[int, int]]:
        """Start and end, in characters of ``text``, of each of the ``ids`` that `encode` made of it.

        A token that is no part of the text, such as one that begins every text, is empty. Of the tokens that share a
        character the first holds it.
        """
        if not self.tokenizer.is_fast:
            return self.pieces(ids)
        encoded: Any = self.tokenizer(text, add_special_tokens=special_tokens, return_offsets_mapping=True)
        spans: list[tuple[int, int]] = []
        last = 0
        for start, end in encoded["offset_mapping"][: len(ids)]:
            begin = max(last, int(start))
            last = max(begin, int(end))
            spans.append((begin, last))
        return spans

    def pieces(self, ids: list[int]) -> list[tuple[int, int]]:
        """Start and end of each of ``ids`` in the text that they decode to, as a model wrote them.

        Of the tokens that share a character the first holds it.
        """
        ends = [len(self.decode(ids[:count])) for count in range(1, len(ids) + 1)]
        last = ends[-1] if ends else 0
        return [(min(start, last), min(end, last)) for start, end in zip([0, *ends], ends, strict=False)]

    def decode(self, ids: list[int]) -> str:
        """The exact text of ``ids``, special tokens included."""
        return decode(self.tokenizer, ids)

    def token_text(self, token_id: SupportsIndex) -> str:
        """The text of one token; an id beyond the tokenizer's vocabulary reads ``<id>``."""
        plain = index(token_id)  # tokenizers take no NumPy integers
        return self.decode([plain]) if plain < len(self.tokenizer) else f"<{plain}>"

    def check_neuron(self, neuron: NeuronId) -> None:
        """Raise an `InputError` if ``neuron`` is not in this model."""
        if not 0 <= neuron.layer < self.n_layers:
            raise InputError(
                f"{neuron}: layer {neuron.layer} is out of range; {self.name} has 0 to {self.n_layers - 1}"
            )
        width = self.ffn[neuron.layer].width
        if not 0 <= neuron.neuron < width:
            raise InputError(
                f"{neuron}: neuron {neuron.neuron} is out of range; layer {neuron.layer} has 0 to {width - 1}"
            )

    @property
    def _output_weight(self) -> Float[Tensor, "V E"]:
        head: Any = self.model.get_output_embeddings()
        weight: Tensor = head.weight.detach()
        return weight

    @property
    def _output_projection(self) -> Float[Tensor, "E D"] | None:
        path = self._layout.output_projection
        projection: Any = None if path is None else find_module(self.model, path)
        return None if projection is None else projection.weight.detach()

    @cached_property
    def _folded_unembedding(self) -> Float[Tensor, "V D"]:
        projection = self._output_projection
        assert projection is not None
        return self._output_weight.float() @ projection.float()

    def _check_unembedding(self) -> None:
        if self.model.get_output_embeddings() is None:
            raise ModelFormatError(f"{self.name}: {type(self.model).__name__} has no unembedding; load a causal model")
        projection = self._output_projection
        width = int((self._output_weight if projection is None else projection).shape[1])
        if width != self.d_model:
            raise ModelFormatError(
                f"{self.name}: the unembedding reads {width} entries, and a neuron writes {self.d_model}; name the map "
                "between them as output_projection of a Layout (cotlens.model.architecture.register_layout)"
            )

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name!r}, {self.n_layers} layers x {self.d_ff} neurons, {self.dtype}, {self.device})"
        )
