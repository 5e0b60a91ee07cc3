"""The JSON behind the pages: every record that a page draws, under ``/api``, described by OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import APIRouter, HTTPException, Path, Query

from cotlens.explorer.active import Activity, Step, activity, read_step
from cotlens.explorer.attempt import attempt
from cotlens.explorer.charts import WIDE, ChartRecord, as_record
from cotlens.explorer.compare import Comparison, Shown, compare
from cotlens.explorer.completion_list import CompletionFilter, CompletionList, list_completions
from cotlens.explorer.completions import Completion, find_names, read_completion
from cotlens.explorer.concepts import ConceptList, list_concepts
from cotlens.explorer.figures import One, Width, find_figure
from cotlens.explorer.interventions import ChangeList, Interventions, list_changes, read_interventions
from cotlens.explorer.neurons import Neuron, read_neuron
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.overview import Overview, read_overview
from cotlens.explorer.queries import Number, Place, Size, Text
from cotlens.explorer.records import FigureList, FigureName, Problem, Record
from cotlens.explorer.search import NeuronFilter, NeuronList, find_neurons
from cotlens.explorer.site import Site
from cotlens.explorer.tables import figures_in

__all__ = ["DESCRIPTION", "api_routes"]

T = TypeVar("T", bound=Record)

DESCRIPTION = "What the pages of the explorer show, as JSON. Everything is read only; shares are of one."

_ABSENT: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "No address of this server"},
    404: {"model": Problem, "description": "Not in this run, or not readable; detail says why"},
    422: {"model": Problem, "description": "The address has a value that does not fit"},
}


class _Answer(Protocol):
    def __call__(self, read: Callable[[OpenedRun], T]) -> T: ...


def api_routes(site: Site) -> APIRouter:
    """The JSON of one run."""
    routes = APIRouter(prefix="/api", responses=_ABSENT)

    def answer(read: Callable[[OpenedRun], T]) -> T:
        found = attempt(lambda: read(site.folder.now()))
        if found.value is None:
            raise HTTPException(404, found.reason)
        return found.value

    _of_completions(routes, answer)
    _of_neurons(routes, answer)
    _of_the_run(routes, site, answer)
    _of_figures(routes, site, answer)
    return routes


def _of_completions(routes: APIRouter, answer: _Answer) -> None:
    @routes.get("/completions")
    def completions(wanted: Annotated[CompletionFilter, Query()], page: Number = 1, size: Size = 50) -> CompletionList:
        """The completions that fit, a page of them."""
        return answer(lambda opened: list_completions(opened, wanted, page, size))

    @routes.get("/completions/{variant}/{question_id}")
    def completion(variant: str, question_id: str) -> Completion:
        """One completion with its tokens and its equations executed."""
        return answer(lambda opened: read_completion(opened, variant, question_id))

    @routes.get("/completions/{variant}/{question_id}/activity")
    def active(variant: str, question_id: str) -> Activity:
        """How many neurons of each concept are active at each step of one completion."""
        return answer(lambda opened: activity(opened, *find_names(opened, variant, question_id)))

    @routes.get("/completions/{variant}/{question_id}/steps/{step}")
    def one_step(variant: str, question_id: str, step: Annotated[int, Path(ge=0, le=10**6)]) -> Step:
        """The active neurons of one step: every layer and rank."""
        return answer(lambda opened: read_step(opened, *find_names(opened, variant, question_id), step))


def _of_neurons(routes: APIRouter, answer: _Answer) -> None:
    @routes.get("/neurons")
    def neurons(wanted: Annotated[NeuronFilter, Query()], page: Number = 1, size: Size = 50) -> NeuronList:
        """The neurons that fit, a page of them."""
        return answer(lambda opened: find_neurons(opened, wanted, page, size))

    @routes.get("/neurons/{name}")
    def neuron(name: str) -> Neuron:
        """One neuron, named as in L12N345."""
        return answer(lambda opened: read_neuron(opened, name))

    @routes.get("/concepts")
    def concepts() -> ConceptList:
        """The concepts that neurons were labelled with."""
        return answer(list_concepts)


def _of_the_run(routes: APIRouter, site: Site, answer: _Answer) -> None:
    @routes.get("/overview")
    def overview() -> Overview:
        """What was run, how far it came, and what it found."""
        return answer(read_overview)

    @routes.get("/compare")
    def comparison(
        a: Text, b: Text, run: Literal["", "other"] = "", shown: Shown = "differing", page: Number = 1
    ) -> Comparison:
        """Two variants, the second of this run or of the other one that the explorer was given."""

        def read(opened: OpenedRun) -> Comparison:
            return compare(opened, a, site.beside(run, opened), b, shown, page)

        return answer(read)

    @routes.get("/interventions")
    def interventions() -> Interventions:
        """What editing neurons did, beside matched random sets."""
        return answer(read_interventions)

    @routes.get("/interventions/{edit}/answers")
    def answers(
        edit: Place, which: Literal["", "lost", "gained"] = "", page: Number = 1, size: Size = 50
    ) -> ChangeList:
        """The answers that an edit changed; ``edit`` is its place in the list of edits, from 0."""
        return answer(lambda opened: list_changes(opened, edit, which, page, size))


def _of_figures(routes: APIRouter, site: Site, answer: _Answer) -> None:
    @routes.get("/figures")
    def figures() -> FigureList:
        """The run's figures, and why those that are absent are."""

        def read(opened: OpenedRun) -> FigureList:
            found = figures_in(opened).items()
            return FigureList(
                figures=[
                    FigureName(name=name, title=one.figure.title if one.figure else "", reason=one.reason)
                    for name, one in found
                ]
            )

        return answer(read)

    @routes.get("/figures/{name}")
    def figure(one: One, width: Width = WIDE) -> ChartRecord:
        """A figure as a Vega-Lite specification, with the numbers behind it; of the run, a neuron or a comparison."""
        return answer(lambda _: as_record(find_figure(site, one), width))
