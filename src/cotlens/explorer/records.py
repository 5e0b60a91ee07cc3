"""What pages draw and the API sends: the records that several modules share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Choice", "FigureList", "FigureName", "Page", "Problem", "Record", "Table"]


class Record(BaseModel):
    """A frozen record. Shares are of one, frequencies per neuron-step; a number that there isn't is null."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Problem(Record):
    """Why an answer is not what was asked for."""

    detail: str


class Choice(Record):
    """One of several things to choose from, and its name in words."""

    value: str
    label: str
    count: int | None = None


class FigureName(Record):
    name: str
    title: str
    reason: str
    """Why the run has none of this name; empty if it has."""


class FigureList(Record):
    figures: list[FigureName]


class Table(Record):
    """Rows of ready texts; the first ``names`` columns are words, the others numbers."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: int = 1


class Page(Record):
    """Which piece of a list is shown: ``total`` items after filtering, ``number`` counted from 1."""

    number: int = Field(ge=1)
    size: int = Field(ge=1)
    total: int = Field(ge=0)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.size))

    @property
    def first(self) -> int:
        """The number of the first item shown, from 0."""
        return (self.number - 1) * self.size
