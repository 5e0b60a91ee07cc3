"""Looking at a model without a run: one neuron's tokens, and the neurons of one text."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cotlens.capture import Passage
from cotlens.discover import top_neurons
from cotlens.errors import InputError
from cotlens.model.language_model import LanguageModel
from cotlens.project import project
from cotlens.types import NeuronId

__all__ = ["describe_neuron", "trace_text"]

#: Tokens shown for each neuron of a trace.
_TRACE_TOKENS = 5
#: Neurons per layer that count as active.
_ACTIVE = 20


def describe_neuron(lm: LanguageModel, neuron: NeuronId, top_n: int = 20, norm: str = "none") -> dict[str, Any]:
    """What a neuron promotes and suppresses, and how long its value vector is beside the others of its layer."""
    if norm not in ("none", "gamma"):
        raise InputError(f"--norm {norm!r}: give none or gamma")
    lm.check_neuron(neuron)
    found = project(lm, [neuron], top_n, norm)  # type: ignore[arg-type]
    norms = lm.ffn[neuron.layer].value_norms()
    own = norms[neuron.neuron]
    return {
        "model": lm.name,
        "neuron": str(neuron),
        "value_norm": float(own),
        "longer_than": float((norms < own).float().mean()),
        "norm": norm,
        "promoted": [
            {"token": lm.token_text(i), "id": int(i), "logit": float(logit), "probability": float(prob)}
            for i, logit, prob in zip(
                found.promoted_ids[0], found.promoted_logits[0], found.promoted_probs[0], strict=True
            )
        ],
        "suppressed": [
            {"token": lm.token_text(i), "id": int(i), "logit": float(logit)}
            for i, logit in zip(found.suppressed_ids[0], found.suppressed_logits[0], strict=True)
        ],
    }


@torch.inference_mode()
def trace_text(lm: LanguageModel, text: str, top_k: int = 3) -> dict[str, Any]:
    """Which neurons fire at every token of ``text``, and what they promote there.

    Shown are, of each layer's top-20 by score, those with the largest direct effect on the log-probability of the
    token that comes next, to first order and with the final norm's scale held: ``m * v`` along its gradient. By score
    alone the same few neurons come first at every token.
    """
    ids = lm.encode(text)
    if len(ids) < 2:
        raise InputError(f"{text!r} is {len(ids)} token; give a text of at least two")
    if not 1 <= top_k <= lm.d_ff:
        raise InputError(f"--top-k {top_k}: {lm.name} has {lm.d_ff} neurons per layer, so give 1 to {lm.d_ff}")
    Passage(ids, prompt_length=1).check(lm)
    read = torch.tensor([ids[:-1]], device=lm.device)  # nothing is shown of what the last token predicts
    probabilities = lm.model(read).logits[0].float().softmax(dim=-1)
    likeliest = probabilities.max(dim=-1)
    strongest = _strongest(lm, ids, probabilities, top_k)
    return {
        "model": lm.name,
        "text": text,
        "steps": [
            {
                "read": lm.token_text(ids[step]),
                "next": lm.token_text(ids[step + 1]),
                "next_probability": float(probabilities[step, ids[step + 1]]),
                "predicted": lm.token_text(int(likeliest.indices[step])),
                "predicted_probability": float(likeliest.values[step]),
                "neurons": neurons,
            }
            for step, neurons in enumerate(strongest)
        ],
    }


def _strongest(
    lm: LanguageModel, ids: list[int], probabilities: Float[Tensor, "T V"], top_k: int
) -> list[list[dict[str, Any]]]:
    """For each step, those of the active neurons that push the next token's log-probability most, up or down."""
    top = top_neurons(lm, ids, prompt_length=1, top_k=min(_ACTIVE, lm.d_ff))
    unembedding = lm.unembedding.float()
    # The gradient of log p(next): towards the next token, away from what the model expects instead.
    directions = (unembedding[ids[1:]] - probabilities @ unembedding) * lm.final_norm_gain  # [T, D]
    neurons, coefficients = torch.from_numpy(top.neuron).long(), torch.from_numpy(top.coefficient)  # [T, L, K]
    pushes = torch.empty_like(coefficients)
    for ffn in lm.ffn:
        vectors = ffn.residual_vectors
        written = vectors[neurons[:, ffn.layer].to(vectors.device)].float().to(directions.device)  # [T, K, D]
        pushes[:, ffn.layer] = coefficients[:, ffn.layer] * torch.einsum("tkd,td->tk", written, directions).cpu()
    active = pushes.shape[2]
    steps = []
    for step, push in enumerate(pushes.flatten(1)):
        best = push.abs().topk(min(top_k, len(push))).indices.tolist()
        chosen = [
            (
                NeuronId(i // active, int(neurons[step].flatten()[i])),
                float(coefficients[step].flatten()[i]),
                float(push[i]),
            )
            for i in best
        ]
        steps.append(_describe(lm, chosen))
    return steps


def _describe(lm: LanguageModel, chosen: list[tuple[NeuronId, float, float]]) -> list[dict[str, Any]]:
    seen = project(lm, [neuron for neuron, _, _ in chosen], _TRACE_TOKENS)
    return [
        {
            "neuron": str(neuron),
            "coefficient": coefficient,
            "push": "up" if push > 0 else "down",
            "promotes": [lm.token_text(i) for i in ids],
        }
        for (neuron, coefficient, push), up, down in zip(chosen, seen.promoted_ids, seen.suppressed_ids, strict=True)
        for ids in [up if coefficient > 0 else down]
    ]
