"""Addresses among the files of an exported folder, relative, so that the folder can lie anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlencode

from cotlens.explorer.links import Query
from cotlens.files import content_hash
from cotlens.report.figure import WIDE
from cotlens.types import NeuronId

__all__ = ["Exported", "FigureFile", "FileLinks"]

_PAGES = ("completions", "neurons", "concepts", "interventions")


class FigureFile(NamedTuple):
    """A chart that a page names, and so has to be written."""

    name: str
    of: str
    to: str
    run: str
    kind: str
    width: int
    dark: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """What has a file: by variant and question the name of a completion's, by two variants that of their comparison."""

    completions: dict[tuple[str, str], str]
    neurons: frozenset[NeuronId]
    pairs: dict[tuple[str, str], str]
    figures: dict[str, FigureFile] = field(default_factory=dict)
    """By file; filled as pages name them."""

    @classmethod
    def of(
        cls, completions: Iterable[tuple[str, str]], neurons: Iterable[NeuronId], pairs: Iterable[tuple[str, str]]
    ) -> Exported:
        return cls(
            {pair: f"{_slug(pair[0])}-{_slug(pair[1])}" for pair in completions},
            frozenset(neurons),
            {(a, b): f"compare-{_slug(a)}-{_slug(b)}.html" for a, b in pairs},
        )


class FileLinks:
    """Addresses from a page to others; ``up`` leads from its folder to that of the first page."""

    def __init__(self, up: str, exported: Exported) -> None:
        self._up = up
        self._exported = exported

    def page(self, name: str, **query: Query) -> str | None:
        if name == "":
            return f"{self._up}index.html"
        if name == "compare":
            pairs = self._exported.pairs
            asked = (str(query.get("a", "")), str(query.get("b", "")))
            found = pairs.get(asked) if query else next(iter(pairs.values()), None)
            return None if found is None or {"shown", "page"} & set(query) else self._up + found
        if name == "report":
            return f"{self._up}report.html"
        only_filters = set(query) <= {"concept"}
        return f"{self._up}{name}.html" if name in _PAGES and only_filters else None

    def completion(self, variant: str, question_id: str, **query: Query) -> str | None:
        name = self._exported.completions.get((variant, question_id))
        if name is None:
            return None
        kept = {key: value for key, value in query.items() if key in ("step", "concept") and value is not None}
        return f"{self._up}completion/{name}.html" + (f"?{urlencode(kept)}" if kept else "")

    def neuron(self, layer: int, neuron: int) -> str | None:
        found = NeuronId(layer, neuron)
        return f"{self._up}neuron/{found}.html" if found in self._exported.neurons else None

    def any_neuron(self) -> str | None:
        return f"{self._up}neuron/L0N0.html" if self._exported.neurons else None

    def figure(self, name: str, kind: str, **query: Query) -> str | None:
        of, to, run = (str(query.get(key) or "") for key in ("of", "to", "run"))
        if name.startswith("neuron-") and kind in ("svg", "png"):
            return None  # there are thousands; their numbers and the live charts are there
        width, dark = int(query.get("width") or WIDE), query.get("theme") == "dark"
        what = "-".join([name, *(_slug(text) for text in (of, to, run) if text)])
        size = f"-{width}" if kind != "csv" and "width" in query else ""
        file = f"figures/{what}{size}{'-dark' if dark else ''}.{kind}"
        self._exported.figures[file] = FigureFile(name, of, to, run, kind, width, dark)
        return self._up + file

    def active(self, variant: str, question_id: str, what: str) -> str | None:
        name = self._exported.completions.get((variant, question_id))
        return None if name is None else f"{self._up}completion/{name}/{what}.json"

    def static(self, name: str) -> str:
        return f"{self._up}static/{name}"


def _slug(text: str) -> str:
    """``text`` as part of a file's name, no two alike."""
    plain = re.sub(r"[^\w-]+", "_", text, flags=re.ASCII)[:60]
    return plain if plain == text else f"{plain}-{content_hash(text)[:8]}"
