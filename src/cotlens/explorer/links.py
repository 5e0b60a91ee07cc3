"""The address of everything: on the server, and among the files of an exported folder."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote, urlencode

__all__ = ["Links", "ServerLinks", "neuron_name"]

Query = str | int | float | None


class Links(Protocol):
    """Addresses for a page; None where there is no such page."""

    def page(self, name: str, **query: Query) -> str | None:
        """One of the pages without further name: ``""`` (the overview), ``completions``, ``neurons``, ..."""
        ...

    def completion(self, variant: str, question_id: str, **query: Query) -> str | None: ...

    def neuron(self, layer: int, neuron: int) -> str | None: ...

    def any_neuron(self) -> str | None:
        """The page of a neuron, with the name L0N0 standing for that of any."""
        ...

    def figure(self, name: str, kind: str, **query: Query) -> str | None:
        """A chart as ``svg``, ``png``, ``csv`` or, its specification, ``json``."""
        ...

    def active(self, variant: str, question_id: str, what: str) -> str | None:
        """JSON about the active neurons of a completion: ``activity``, or ``steps/STEP`` for any step's number."""
        ...

    def static(self, name: str) -> str: ...


class ServerLinks:
    """Addresses on the server, beneath ``prefix``."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    def page(self, name: str, **query: Query) -> str:
        return f"{self._prefix}/{name}{_query(query)}"

    def completion(self, variant: str, question_id: str, **query: Query) -> str:
        return f"{self._prefix}/completion/{_segment(variant)}/{_segment(question_id)}{_query(query)}"

    def neuron(self, layer: int, neuron: int) -> str:
        return f"{self._prefix}/neuron/{neuron_name(layer, neuron)}"

    def any_neuron(self) -> str:
        return self.neuron(0, 0)

    def figure(self, name: str, kind: str, **query: Query) -> str:
        return f"{self._prefix}/figures/{_segment(name)}.{kind}{_query(query)}"

    def active(self, variant: str, question_id: str, what: str) -> str:
        return f"{self._prefix}/api/completions/{_segment(variant)}/{_segment(question_id)}/{what}"

    def static(self, name: str) -> str:
        return f"/static/{name}"


def neuron_name(layer: int, neuron: int) -> str:
    return f"L{layer}N{neuron}"


def _segment(text: str) -> str:
    return quote(text, safe="")


def _query(query: dict[str, Query]) -> str:
    given = {name: value for name, value in query.items() if value is not None and value != ""}
    return f"?{urlencode(given)}" if given else ""
