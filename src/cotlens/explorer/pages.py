"""The addresses of the pages, and what may stand in their queries. What they show is made in `views`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cotlens.errors import InputError
from cotlens.explorer import views
from cotlens.explorer.attempt import attempt
from cotlens.explorer.checked import check_part
from cotlens.explorer.compare import Shown
from cotlens.explorer.completion_list import CompletionFilter
from cotlens.explorer.queries import Number, Text
from cotlens.explorer.search import NeuronFilter
from cotlens.explorer.security import REPORT_POLICY
from cotlens.explorer.site import Site
from cotlens.explorer.walk import ALL
from cotlens.types import NeuronId

__all__ = ["page_routes"]


def page_routes(site: Site) -> APIRouter:
    """The pages of one run."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    _completion_pages(routes, site)
    _neuron_pages(routes, site)

    @routes.get("/")
    def overview() -> Response:
        return site.page(lambda opened: views.overview_page(site, opened))

    @routes.get("/compare")
    def compare(
        a: Text = "", b: Text = "", run: Literal["", "other"] = "", shown: Shown = "differing", page: Number = 1
    ) -> Response:
        return site.page(lambda opened: views.compare_page(site, opened, a, b, run, shown, page))

    @routes.get("/interventions")
    def interventions(
        edit: Annotated[int, Query(ge=0, le=10**6)] = 0, which: Literal["", "lost", "gained"] = "", page: Number = 1
    ) -> Response:
        return site.page(lambda opened: views.interventions_page(site, opened, edit, which, page))

    @routes.get("/report")
    def report() -> Response:
        return _report(site)

    return routes


def _completion_pages(routes: APIRouter, site: Site) -> None:
    @routes.get("/completions")
    def completions(wanted: Annotated[CompletionFilter, Query()], page: Number = 1) -> Response:
        return site.page(lambda opened: views.completions_page(site, opened, wanted, page))

    @routes.get("/completion/{variant}/{question_id}")
    def completion(
        variant: str,
        question_id: str,
        concept: Text = ALL,
        beside: Text = "",
        step: Annotated[int | None, Query(ge=0, le=10**6)] = None,
    ) -> Response:
        return site.found(
            lambda opened: views.completion_page(site, opened, (variant, question_id), concept, beside, step)
        )


def _neuron_pages(routes: APIRouter, site: Site) -> None:
    @routes.get("/neurons")
    def neurons(wanted: Annotated[NeuronFilter, Query()], page: Number = 1) -> Response:
        named = attempt(lambda: NeuronId.parse(wanted.token)).value if wanted.token else None
        if named is not None and (address := site.links.neuron(*named)):
            return RedirectResponse(address, status_code=303)
        return site.page(lambda opened: views.neurons_page(site, opened, wanted, page))

    @routes.get("/neuron/{name}")
    def neuron(name: str) -> Response:
        return site.found(lambda opened: views.neuron_page(site, opened, name))

    @routes.get("/concepts")
    def concepts() -> Response:
        return site.page(lambda opened: views.concepts_page(site, opened))


def _report(site: Site) -> Response:
    """``report.html`` as it lies in the run, cut off from everything by its own policy."""

    def read() -> bytes:
        opened = site.folder.now()
        if not opened.has("report", "report.html"):
            raise InputError("the report is not written yet; run `cotlens report`")
        part = opened.run.manifest.stages["report"].parts["report.html"]
        return check_part(opened.run.path, "report.html", part).read_bytes()

    found = attempt(read)
    if found.value is None:
        return HTMLResponse(site.message("No report", found.reason), status_code=404)
    return HTMLResponse(found.value, headers={"Content-Security-Policy": REPORT_POLICY})
