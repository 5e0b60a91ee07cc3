"""The addresses of charts: specification, SVG, PNG and CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from cotlens.errors import InputError
from cotlens.explorer.attempt import attempt
from cotlens.explorer.charts import WIDE, as_csv, as_png, as_record, as_svg, report_figures
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.site import Site
from cotlens.report.exhibits import Figure

__all__ = ["figure_routes"]

Width = Annotated[int, Query(ge=200, le=2000)]
Of = Annotated[str, Query(max_length=300)]
Theme = Literal["light", "dark"]


def figure_routes(site: Site) -> APIRouter:
    """The charts of one run."""
    routes = APIRouter(include_in_schema=False)

    def answer(name: str, of: str, kind: str, draw: Callable[[Figure], str | bytes | dict[str, Any]]) -> Response:
        found = attempt(lambda: draw(_figure(site.folder.now(), name, of)))
        if found.value is None:
            return JSONResponse({"detail": found.reason}, status_code=404)
        if isinstance(found.value, dict):
            return JSONResponse(found.value)
        return Response(found.value, media_type=kind)

    @routes.get("/figures/{name}.json")
    def specification(name: str, of: Of = "", width: Width = WIDE) -> Response:
        return answer(name, of, "application/json", lambda figure: as_record(figure, width).model_dump(mode="json"))

    @routes.get("/figures/{name}.svg")
    def svg(name: str, of: Of = "", width: Width = WIDE, theme: Theme = "light") -> Response:
        return answer(name, of, "image/svg+xml", lambda figure: as_svg(figure, width, theme == "dark"))

    @routes.get("/figures/{name}.png")
    def png(name: str, of: Of = "", width: Width = WIDE, theme: Theme = "light") -> Response:
        return answer(name, of, "image/png", lambda figure: as_png(figure, width, theme == "dark"))

    @routes.get("/figures/{name}.csv")
    def table(name: str, of: Of = "") -> Response:
        return answer(name, of, "text/csv; charset=utf-8", as_csv)

    return routes


def _figure(opened: OpenedRun, name: str, of: str) -> Figure:
    found = report_figures(opened)
    if name not in found:
        raise InputError(f"there is no figure {name!r}")
    if found[name].value is None:
        raise InputError(found[name].reason)
    figure = found[name].value
    assert figure is not None
    return figure
