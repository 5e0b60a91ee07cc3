"""Looking at a model without a run: one neuron's tokens, and the neurons of one text."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cotlens.capture import Passage
from cotlens.capture.readout import Norm
from cotlens.discover import top_neurons
from cotlens.errors import InputError
from cotlens.logit_lens import Streams, read_layers, read_streams
from cotlens.model.language_model import LanguageModel
from cotlens.notebook import Html, card, chips, paragraph, table, words
from cotlens.project import project
from cotlens.types import NeuronId

__all__ = ["NeuronTokens", "Trace", "describe_neuron", "trace_text"]

#: Tokens shown for each neuron of a trace.
_TRACE_TOKENS = 5
#: Tokens of a trace that a notebook shows.
_STEPS_SHOWN = 40
#: Neurons per layer that count as active.
_ACTIVE = 20


class NeuronTokens(dict[str, Any]):
    """What `describe_neuron` found, to be read as a dict or looked at in a notebook."""

    def _repr_html_(self) -> str:
        facts = (
            f"of {self['model']}; its value vector has length {self['value_norm']:.3f}, longer than "
            f"{self['longer_than']:.0%} of its layer’s"
        )
        rows = [
            (chips([up["token"]]), f"{up['logit']:+.2f}", chips([down["token"]]), f"{down['logit']:+.2f}")
            for up, down in zip(self["promoted"], self["suppressed"], strict=True)
        ]
        head = ("promotes when active positively", "logit", "suppresses; promotes when negative", "logit")
        return card(self["neuron"], facts, table(head, rows, numbers=[1, 3]))


class Trace(dict[str, Any]):
    """What `trace_text` found, to be read as a dict or looked at in a notebook."""

    def _repr_html_(self) -> str:
        rows = [
            (
                chips([step["read"]]),
                chips([step["next"]]),
                f"{step['next_probability']:.2f}",
                chips([step["predicted"]]),
                f"{step['predicted_probability']:.2f}",
                Html("<br>".join(_neuron_line(neuron) for neuron in step["neurons"])),
            )
            for step in self["steps"][:_STEPS_SHOWN]
        ]
        left = len(self["steps"]) - _STEPS_SHOWN
        more = [paragraph(f"and {left:,} more tokens")] if left > 0 else []
        head = ("after", "comes", "p", "guess", "p", "neurons with the largest direct effect on what comes")
        facts = f"{self['model']}; ↑ makes what comes likelier, ↓ less likely; then the signed coefficient"
        return card("Trace", facts, table(head, rows, numbers=[2, 4]), *more)


def _neuron_line(neuron: dict[str, Any]) -> Html:
    arrow = "↑" if neuron["push"] == "up" else "↓"
    return Html(f"{arrow} {words(neuron['neuron'])} {neuron['coefficient']:+.2f} {chips(neuron['promotes'])}")


def describe_neuron(lm: LanguageModel, neuron: NeuronId, top_n: int = 20, norm: str = "none") -> NeuronTokens:
    """What a neuron promotes and suppresses, and how long its value vector is beside the others of its layer.

    Args:
        lm: the model.
        neuron: layer and index, both 0-based.
        top_n: tokens at each end.
        norm: ``none``, or ``gamma`` to fold the gain of the final norm into the unembedding.

    Returns:
        model, neuron, ``value_norm`` (Euclidean), ``longer_than`` (share of its layer), norm, and the tokens
        ``promoted`` and ``suppressed``, best first, with id, fp32 logit and, if promoted, probability.

    Raises:
        InputError: the neuron is out of range, or another argument is.
    """
    if norm not in ("none", "gamma"):
        raise InputError(f"--norm {norm!r}: give none or gamma")
    neuron = NeuronId(*neuron)
    lm.check_neuron(neuron)
    found = project(lm, [neuron], top_n, norm)  # type: ignore[arg-type]
    norms = lm.ffn[neuron.layer].value_norms()
    own = norms[neuron.neuron]
    promoted = zip(found.promoted_ids[0], found.promoted_logits[0], found.promoted_probs[0], strict=True)
    suppressed = zip(found.suppressed_ids[0], found.suppressed_logits[0], strict=True)
    return NeuronTokens(
        model=lm.name,
        neuron=str(neuron),
        value_norm=float(own),
        longer_than=float((norms < own).float().mean()),
        norm=norm,
        promoted=[
            {"token": lm.token_text(i), "id": int(i), "logit": float(logit), "probability": float(prob)}
            for i, logit, prob in promoted
        ],
        suppressed=[{"token": lm.token_text(i), "id": int(i), "logit": float(logit)} for i, logit in suppressed],
    )


@torch.inference_mode()
def trace_text(lm: LanguageModel, text: str, top_k: int = 3, logit_lens: bool = False) -> Trace:
    """Which neurons fire at every token of ``text``, and what they promote there.

    Shown are, of each layer's top-20 by score, those with the largest direct effect on the log-probability of the
    token that comes next, to first order and with the final norm's scale held: ``m * v`` along its gradient. By score
    alone the same few neurons come first at every token.

    Args:
        lm: the model.
        text: of at least two tokens.
        top_k: neurons per token.
        logit_lens: also what the residual stream after each layer would say, read through the final norm and the
            unembedding (nostalgebraist, 2020).

    Returns:
        model, text, and for each token but the last a step: ``read`` and ``next`` (texts), their probabilities, the
        likeliest token, ``neurons`` with signed coefficient, ``push`` and ``effect`` (change in the log-probability of
        what comes, in nats), and under ``logit_lens`` for each layer the likeliest token and the probability of what
        comes.

    Raises:
        InputError: a text of fewer tokens, or ``top_k`` out of range.
    """
    ids = lm.encode(text)
    if len(ids) < 2:
        raise InputError(f"{text!r} is {len(ids)} token; give a text of at least two")
    if not 1 <= top_k <= lm.d_ff:
        raise InputError(f"--top-k {top_k}: {lm.name} has {lm.d_ff} neurons per layer, so give 1 to {lm.d_ff}")
    Passage(ids, prompt_length=1).check(lm)
    streams = read_streams(lm, ids[:-1])  # nothing is shown of what the last token predicts
    probabilities = streams.logits.softmax(dim=-1)
    likeliest = probabilities.max(dim=-1)
    strongest = _strongest(lm, ids, streams, top_k)
    lens = read_layers(lm, streams, ids[1:]) if logit_lens else [[]] * len(strongest)
    steps = [
        {
            "read": lm.token_text(ids[step]),
            "next": lm.token_text(ids[step + 1]),
            "next_probability": float(probabilities[step, ids[step + 1]]),
            "predicted": lm.token_text(int(likeliest.indices[step])),
            "predicted_probability": float(likeliest.values[step]),
            "neurons": neurons,
        }
        | ({"lens": lens[step]} if logit_lens else {})
        for step, neurons in enumerate(strongest)
    ]
    return Trace(model=lm.name, text=text, steps=steps)


def _strongest(lm: LanguageModel, ids: list[int], streams: Streams, top_k: int) -> list[list[dict[str, Any]]]:
    """For each step, those of the active neurons that push the next token's log-probability most, up or down."""
    top = top_neurons(lm, ids, prompt_length=1, top_k=min(_ACTIVE, lm.d_ff))
    directions = _directions(lm, streams, ids[1:])
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


def _directions(lm: LanguageModel, streams: Streams, following: list[int]) -> Float[Tensor, "T D"]:
    """The gradient of log p(next) in the residual stream, the final norm frozen: towards the next token, away from what
    the model expects instead."""
    unembedding = lm.unembedding.float()
    expected = streams.logits.to(unembedding.device).softmax(dim=-1) @ unembedding
    norm = Norm(lm.final_norm, lm.d_model, unembedding.device)
    return norm.scale(streams.layers[-1])[:, None] * norm.back(unembedding[following] - expected)


def _describe(lm: LanguageModel, chosen: list[tuple[NeuronId, float, float]]) -> list[dict[str, Any]]:
    seen = project(lm, [neuron for neuron, _, _ in chosen], _TRACE_TOKENS)
    return [
        {
            "neuron": str(neuron),
            "coefficient": coefficient,
            "push": "up" if push > 0 else "down",
            "effect": push,
            "promotes": [lm.token_text(i) for i in ids],
        }
        for (neuron, coefficient, push), up, down in zip(chosen, seen.promoted_ids, seen.suppressed_ids, strict=True)
        for ids in [up if coefficient > 0 else down]
    ]
