"""The pages: what each address reads, and the template that draws it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from cotlens.errors import InputError
from cotlens.explorer.attempt import attempt
from cotlens.explorer.charts import report_figures
from cotlens.explorer.checked import check_part
from cotlens.explorer.completions import CompletionFilter, list_completions
from cotlens.explorer.neurons import read_neuron
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.overview import read_overview
from cotlens.explorer.security import REPORT_POLICY
from cotlens.explorer.site import Site
from cotlens.explorer.walk import ALL, concepts_of, read_walk

__all__ = ["page_routes"]

#: The figures of the overview, in the order shown.
SECTIONS = {
    "Accuracy": ("accuracy", "failures"),
    "Activity of each concept": ("heat", "comparison", "differences", "correctness"),
    "Where and when": ("layers", "roles", "steps"),
}

Text = Annotated[str, Query(max_length=300)]
Number = Annotated[int, Query(ge=1, le=10**6)]


def page_routes(site: Site) -> APIRouter:
    """The pages of one run."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    @routes.get("/")
    def overview() -> Response:
        return site.page(lambda opened: overview_page(site, opened))

    @routes.get("/completions")
    def completions(
        variant: Text = "",
        correct: Text = "",
        failure: Text = "",
        text: Text = "",
        sort: Text = "order",
        descending: bool = False,
        page: Number = 1,
    ) -> Response:
        wanted = CompletionFilter(
            variant=variant, correct=correct, failure=failure, text=text, sort=sort, descending=descending
        )
        return site.page(lambda opened: completions_page(site, opened, wanted, page))

    @routes.get("/completion/{variant}/{question_id}")
    def completion(
        variant: str, question_id: str, concept: Text = ALL, beside: Text = "", step: int | None = None
    ) -> Response:
        return site.found(lambda opened: completion_page(site, opened, variant, question_id, concept, beside, step))

    @routes.get("/neuron/{name}")
    def neuron(name: str) -> Response:
        return site.found(lambda opened: neuron_page(site, opened, name))

    @routes.get("/report")
    def report() -> Response:
        return report_file(site)

    return routes


def overview_page(site: Site, opened: OpenedRun) -> str:
    figures = report_figures(opened)
    whole = {"Figures": [figures["all"]]} if "all" in figures else {}
    sections = whole or {
        title: [figures[name] for name in names if figures[name].value is not None] for title, names in SECTIONS.items()
    }
    return site.draw(
        opened, "overview.html.j2", title="Overview", here="", overview=read_overview(opened),
        sections=list(sections.items()),
    )  # fmt: skip


def completions_page(site: Site, opened: OpenedRun, wanted: CompletionFilter, page: int) -> str:
    def address(number: int) -> str | None:
        return site.links.page("completions", **wanted.model_dump(exclude_defaults=True), page=number)

    return site.draw(
        opened, "completions.html.j2", title="Completions", here="completions", wanted=wanted,
        found=list_completions(opened, wanted, page), page_address=address, names=site.names(opened),
    )  # fmt: skip


def completion_page(
    site: Site, opened: OpenedRun, variant: str, question_id: str, concept: str, beside: str, step: int | None
) -> str:
    first = read_walk(opened, variant, question_id, concept, step)
    second = attempt(lambda: read_walk(opened, beside, first.completion.question_id, concept, step)) if beside else None
    names = site.names(opened)
    title = f"{first.completion.question_id}, {names.get(first.completion.variant, first.completion.variant)}"
    return site.draw(
        opened, "completion.html.j2", title=title, here="completions",
        trail=[("Completions", site.links.page("completions")), (title, None)],
        first=first.completion, walks=[first] + ([second.value] if second and second.value else []),
        beside=beside if second and second.value else "", beside_reason=second.reason if second else "",
        concepts=concepts_of(opened), concept=concept, step=first.step, names=names, can_pair=True,
        ranks=len(first.grid[0]) if first.grid else opened.run.config.discover.top_k,
    )  # fmt: skip


def neuron_page(site: Site, opened: OpenedRun, name: str) -> str:
    neuron = read_neuron(opened, name)
    title = f"L{neuron.layer}N{neuron.neuron}"
    return site.draw(
        opened, "neuron.html.j2", title=title, here="neurons",
        trail=[("Neurons", site.links.page("neurons")), (title, None)],
        neuron=neuron, concepts=concepts_of(opened), names=site.names(opened), charts=[], dissent="", previous=None,
        next=None,
    )  # fmt: skip


def report_file(site: Site) -> Response:
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
