"""From a token to neurons: which of all the model's neurons promote or suppress it most."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Literal, SupportsIndex

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cotlens.errors import InputError, NonFiniteError
from cotlens.model.language_model import LanguageModel
from cotlens.project.ends import PIECE, stable_top
from cotlens.project.projection import all_neurons, check_projection, gather_value_vectors, project
from cotlens.project.stage import projection_columns
from cotlens.tokens import visible
from cotlens.types import NeuronId

__all__ = ["describe_token", "find_token", "search_token"]

#: Tokens of each neuron that `describe_token` tells, at each end.
_TOKENS = 10
#: Value vectors upcast at once.
_ROWS = 4096
#: Neurons whose logits over the whole vocabulary are held at once.
_RANKED = 64
#: Pieces of a text that an error lists.
_SHOWN = 8


@torch.inference_mode()
def search_token(
    lm: LanguageModel,
    token: str | SupportsIndex,
    top_k: int = 20,
    norm: Literal["none", "gamma"] = "none",
    top_n: int = 10,
) -> pl.DataFrame:
    """The neurons, of all layers, whose value vectors promote and suppress one token most.

    A neuron's logit for the token is the token's entry of ``W_U v`` (Geva et al., 2022): what a coefficient of 1
    adds to it directly. Every neuron of the model is compared, in fp32.

    Args:
        lm: the model.
        token: its exact text, leading space included, or its id.
        top_k: neurons at each end.
        norm: ``none``, or ``gamma`` to fold the gain of the final norm into ``W_U``.
        top_n: tokens shown of each neuron at each end.

    Returns:
        ``2 * top_k`` rows: first the neurons that promote it, strongest first, then those that suppress it. Columns:
        ``effect`` (``promotes`` or ``suppresses``), ``layer``, ``neuron``, ``logit``, ``rank`` (place of the token
        among all that the neuron promotes, or suppresses; 1 is first), ``value_norm``, and texts, ids and logits of
        the tokens at both ends as `project` finds them.

    Raises:
        InputError: the text is not exactly one token, the id is out of range, or ``top_k`` is.
        NonFiniteError: weights are NaN or infinite; the message names the layer.
    """
    check_projection(lm, top_n, norm)
    token_id = find_token(lm.tokenizer, token) if isinstance(token, str) else index(token)
    if not 0 <= token_id < len(lm.unembedding):
        raise InputError(f"token {token_id} is out of range; {lm.name} has 0 to {len(lm.unembedding) - 1}")
    every = all_neurons(lm)
    if not 1 <= top_k <= len(every):
        raise InputError(f"top_k is {top_k}; give 1 to {len(every)}, the number of neurons")
    logits = _logits_of_token(lm, token_id, norm)
    best = torch.cat([stable_top(logits[None], top_k, largest)[0] for largest in (True, False)])
    neurons = [every[i] for i in best.tolist()]
    ranks = [*_ranks(lm, neurons[:top_k], token_id, norm, 1), *_ranks(lm, neurons[top_k:], token_id, norm, -1)]
    found = project(lm, neurons, top_n, norm)
    return pl.DataFrame(
        [
            pl.Series("effect", ["promotes"] * top_k + ["suppresses"] * top_k),
            pl.Series("layer", found.layer),
            pl.Series("neuron", found.neuron),
            pl.Series("logit", logits[best].cpu().numpy()),
            pl.Series("rank", ranks, dtype=pl.Int32),
            *projection_columns(lm, found, lm.token_text),
        ]
    )


def describe_token(
    lm: LanguageModel, token_id: int, top_k: int = 20, norm: Literal["none", "gamma"] = "none"
) -> dict[str, Any]:
    """What `search_token` finds, as plain data."""
    rows = search_token(lm, token_id, top_k, norm, _TOKENS).to_dicts()
    return {
        "model": lm.name,
        "token": lm.token_text(token_id),
        "token_id": token_id,
        "norm": norm,
        "neurons": sum(ffn.width for ffn in lm.ffn),
        "promotes": [_describe_neuron(row) for row in rows[:top_k]],
        "suppresses": [_describe_neuron(row) for row in rows[top_k:]],
    }


def find_token(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The id of the one token that ``text`` is.

    Raises:
        InputError: it is none, or several; the message lists them, and how a single token of that word is written.
    """
    ids = _encode(tokenizer, text)
    if _is_one(tokenizer, text, ids):
        return ids[0]
    word = text.strip()
    spellings = dict.fromkeys([f" {word}", word, f" {word.lower()}", word.lower(), f" {word.capitalize()}"])
    single = [repr(near) for near in spellings if word and _is_one(tokenizer, near, _encode(tokenizer, near))]
    remedy = f"such as {' or '.join(single)}" if single else "with its leading space if it has one"
    raise InputError(
        f'"{visible(text)}" is {_name_pieces(tokenizer, ids)}; give exactly one token, {remedy}, or its id'
    )


def _describe_neuron(row: dict[str, Any]) -> dict[str, Any]:
    ends = {
        end: [
            {"token": text, "id": token_id, "logit": logit}
            for text, token_id, logit in zip(row[end], row[f"{end}_ids"], row[f"{end}_logits"], strict=True)
        ]
        for end in ("promoted", "suppressed")
    }
    return {
        "neuron": str(NeuronId(row["layer"], row["neuron"])),
        "logit": row["logit"],
        "rank": row["rank"],
        "value_norm": row["value_norm"],
    } | ends


def _logits_of_token(lm: LanguageModel, token_id: int, norm: str) -> Float[Tensor, " N"]:
    row = lm.unembedding[token_id].float()
    if norm == "gamma":
        row = row * lm.final_norm_gain.to(row.device)
    if not bool(row.isfinite().all()):
        raise NonFiniteError(f"token {token_id}: its row of {lm.name}'s unembedding is not finite (NaN or infinity)")
    layers = []
    for ffn in lm.ffn:
        vectors = ffn.value_vectors
        logits = torch.cat([part.float() @ row.to(part.device) for part in torch.split(vectors, _ROWS)])
        if not bool(logits.isfinite().all()):
            raise NonFiniteError(f"layer {ffn.layer}: {lm.name}'s value vectors are not finite (NaN or infinity)")
        layers.append(logits.to(row.device))
    return torch.cat(layers)


def _ranks(lm: LanguageModel, neurons: Sequence[NeuronId], token_id: int, norm: str, sign: int) -> list[int]:
    """The place of the token, from 1, in the order of each neuron's logits times ``sign``; equal logits by id."""
    ranks: list[int] = []
    for start in range(0, len(neurons), _RANKED):
        values = sign * gather_value_vectors(lm, neurons[start : start + _RANKED], norm)
        logits = torch.cat([values @ rows.float().T for rows in torch.split(lm.unembedding, PIECE)], dim=1)  # [n, V]
        own = logits[:, token_id, None]
        before = logits > own
        before[:, :token_id] |= logits[:, :token_id] == own
        ranks += (before.sum(dim=1) + 1).tolist()
    return ranks


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{text!r} is not valid Unicode text; give the token by its id") from None
    encoded: Any = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [int(i) for i in encoded]


def _name_pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    pieces = " ".join(f'"{visible(_text(tokenizer, i))}"' for i in ids[:_SHOWN]) + (" ..." if len(ids) > _SHOWN else "")
    return f"{len(ids)} tokens: {pieces}" if len(ids) > 1 else f"read as {pieces}" if ids else "no token"


def _is_one(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> bool:
    """Whether ``ids`` are one token that reads as ``text``; tokenizers that drop a leading space do so in reading."""
    if len(ids) != 1:
        return False
    read = _text(tokenizer, ids[0])
    return read == text or (bool(read.strip()) and read.strip() == text.strip())


def _text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    text: Any = tokenizer.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(text)
