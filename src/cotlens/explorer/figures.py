"""The addresses of charts: specification, SVG, PNG and CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response

from cotlens.errors import InputError
from cotlens.explorer.attempt import attempt
from cotlens.explorer.charts import WIDE, as_png, as_record, as_svg
from cotlens.explorer.compare import compare
from cotlens.explorer.compare_charts import compare_figures
from cotlens.explorer.neuron_charts import neuron_figures
from cotlens.explorer.neurons import where_active
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.queries import Text
from cotlens.explorer.site import Site
from cotlens.explorer.tables import figures_in
from cotlens.explorer.views import side_labels
from cotlens.report.figure import Figure
from cotlens.types import NeuronId

__all__ = ["One", "Wanted", "Width", "figure_routes", "find_figure"]

Width = Annotated[int, Query(ge=200, le=2000)]
Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A figure by its name: of the run, of the neuron ``of``, or of the variants ``of`` and ``to``."""

    name: str
    of: str
    to: str
    run: str


def _wanted(name: str, of: Text = "", to: Text = "", run: Literal["", "other"] = "") -> Wanted:
    return Wanted(name, of, to, run)


One = Annotated[Wanted, Depends(_wanted)]


def figure_routes(site: Site) -> APIRouter:
    """The charts of one run."""
    routes = APIRouter(include_in_schema=False)

    def answer(one: Wanted, kind: str, draw: Callable[[Figure], str | bytes | dict[str, Any]]) -> Response:
        found = attempt(lambda: draw(find_figure(site, one)))
        if found.value is None:
            return JSONResponse({"detail": found.reason}, status_code=404)
        if isinstance(found.value, dict):
            return JSONResponse(found.value)
        return Response(found.value, media_type=kind)

    @routes.get("/figures/{name}.json")
    def specification(one: One, width: Width = WIDE) -> Response:
        return answer(one, "application/json", lambda figure: as_record(figure, width).model_dump(mode="json"))

    @routes.get("/figures/{name}.svg")
    def svg(one: One, width: Width = WIDE, theme: Theme = "light") -> Response:
        return answer(one, "image/svg+xml", lambda figure: as_svg(figure, width, theme == "dark"))

    @routes.get("/figures/{name}.png")
    def png(one: One, width: Width = WIDE, theme: Theme = "light") -> Response:
        return answer(one, "image/png", lambda figure: as_png(figure, width, theme == "dark"))

    @routes.get("/figures/{name}.csv")
    def table(one: One) -> Response:
        return answer(one, "text/csv; charset=utf-8", lambda figure: figure.csv)

    return routes


def find_figure(site: Site, one: Wanted) -> Figure:
    """A figure of the report, of a neuron, or of a comparison.

    Raises:
        InputError: there is none of that name, or the run has nothing to draw in it.
    """
    opened = site.folder.now()
    if one.name.startswith("neuron-"):
        neuron = NeuronId.parse(one.of)
        found = neuron_figures(where_active(opened, *neuron), site.names(opened))
    elif one.name.startswith("compare-"):
        found = _compared(site, opened, one)
    else:
        found = _of_the_report(opened, one.name)
    if one.name not in found:
        raise InputError(f"there is no figure {one.name!r}")
    return found[one.name]


def _of_the_report(opened: OpenedRun, name: str) -> dict[str, Figure]:
    found = figures_in(opened).get(name)
    if found is not None and found.figure is None:
        raise InputError(found.reason)
    return {} if found is None or found.figure is None else {name: found.figure}


def _compared(site: Site, opened: OpenedRun, one: Wanted) -> dict[str, Figure]:
    second = site.beside(one.run, opened)
    found = compare(opened, one.of, second, one.to)
    labels = side_labels(site, opened, one.of, second, one.to)
    return compare_figures(found, *labels, opened.run.config.analyze.confidence)
