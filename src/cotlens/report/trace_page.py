"""A trace as a page of its own: which neurons fire at each token of a text, without a script or a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cotlens.report.text import readable
from cotlens.tokens import visible

__all__ = ["render_trace"]

#: Shades of a probability, from hardly any to nearly certain.
_SHADES = 5


@dataclass(frozen=True, slots=True)
class _Neuron:
    name: str
    coefficient: str
    effect: str
    helps: bool
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layer:
    token: str
    probability: str
    shade: int
    right: bool


@dataclass(frozen=True, slots=True)
class _Step:
    index: int
    read: str
    next: str
    probability: str
    shade: int
    breaks: int
    guess: str
    guess_probability: str
    right: bool
    neurons: tuple[_Neuron, ...]
    lens: tuple[_Layer, ...]


def render_trace(found: Mapping[str, Any]) -> str:
    """The page of what `cotlens.inspect.trace_text` found, with the logit lens if that was asked for."""
    environment = Environment(
        loader=PackageLoader("cotlens.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    steps = [_step(place, step) for place, step in enumerate(found["steps"])]
    return environment.get_template("trace.html.j2").render(
        style=Markup(source),
        model=readable(found["model"], 80),
        text=readable(found["text"], 20_000),
        first=steps[0].read if steps else "",
        steps=steps,
        layers=len(steps[0].lens) if steps else 0,
        chosen=_least_likely(found["steps"]),
    )


def _step(place: int, step: Mapping[str, Any]) -> _Step:
    return _Step(
        index=place,
        read=visible(step["read"]),
        next=visible(step["next"]),
        probability=_probability(step["next_probability"]),
        shade=_shade(step["next_probability"]),
        breaks=min(2, step["next"].count("\n")),
        guess=visible(step["predicted"]),
        guess_probability=_probability(step["predicted_probability"]),
        right=step["predicted"] == step["next"],
        neurons=tuple(_neuron(neuron) for neuron in step["neurons"]),
        lens=tuple(_layer(layer, step["next"]) for layer in step.get("lens", ())),
    )


def _neuron(neuron: Mapping[str, Any]) -> _Neuron:
    return _Neuron(
        name=neuron["neuron"],
        coefficient=_signed(neuron["coefficient"]),
        effect=_signed(neuron["effect"]),
        helps=neuron["push"] == "up",
        tokens=tuple(visible(token) for token in neuron["promotes"]),
    )


def _layer(layer: Mapping[str, Any], comes: str) -> _Layer:
    return _Layer(
        token=visible(layer["token"], most=12),
        probability=_probability(layer["probability"]),
        shade=_shade(layer["probability"]),
        right=layer["token"] == comes,
    )


def _least_likely(steps: Sequence[Mapping[str, Any]]) -> int:
    """The step at which the model is most surprised, which is shown first."""
    return min(range(len(steps)), key=lambda place: steps[place]["next_probability"], default=0)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _probability(value: float) -> str:
    return f"{100 * value:.1f}%" if value >= 0.0005 else "<0.1%"


def _shade(probability: float) -> int:
    return min(_SHADES - 1, int(probability * _SHADES))
