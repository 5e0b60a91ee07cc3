"""The JSON behind the pages: every record that a page draws, under ``/api``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Path

from cotlens.explorer.active import Activity, Step, activity, read_step
from cotlens.explorer.attempt import attempt
from cotlens.explorer.completions import Completion, find_names, read_completion
from cotlens.explorer.neurons import Neuron, read_neuron
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.overview import Overview, read_overview
from cotlens.explorer.records import Problem, Record
from cotlens.explorer.site import Site

__all__ = ["api_routes"]

T = TypeVar("T", bound=Record)

_ABSENT: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Not in this run, or not readable"}}


def api_routes(site: Site) -> APIRouter:
    """The JSON of one run."""
    routes = APIRouter(prefix="/api", responses=_ABSENT)

    def answer(read: Callable[[OpenedRun], T]) -> T:
        found = attempt(lambda: read(site.folder.now()))
        if found.value is None:
            raise HTTPException(404, found.reason)
        return found.value

    @routes.get("/overview")
    def overview() -> Overview:
        """What was run, and how far it came."""
        return answer(read_overview)

    @routes.get("/completions/{variant}/{question_id}")
    def completion(variant: str, question_id: str) -> Completion:
        """One completion with its tokens and equations."""
        return answer(lambda opened: read_completion(opened, variant, question_id))

    @routes.get("/completions/{variant}/{question_id}/activity")
    def active(variant: str, question_id: str) -> Activity:
        """How many neurons of each concept are active at each step of one completion."""
        return answer(lambda opened: activity(opened, *find_names(opened, variant, question_id)))

    @routes.get("/completions/{variant}/{question_id}/steps/{step}")
    def one_step(variant: str, question_id: str, step: Annotated[int, Path(ge=0, le=10**6)]) -> Step:
        """The active neurons of one step: every layer and rank."""
        return answer(lambda opened: read_step(opened, *find_names(opened, variant, question_id), step))

    @routes.get("/neurons/{name}")
    def neuron(name: str) -> Neuron:
        """One neuron, named as in L12N345."""
        return answer(lambda opened: read_neuron(opened, name))

    return routes
