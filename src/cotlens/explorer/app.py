"""The application: pages, JSON, figures and static files behind the guard."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from cotlens.explorer.api import DESCRIPTION, api_routes
from cotlens.explorer.assets import asset
from cotlens.explorer.figures import figure_routes
from cotlens.explorer.links import ServerLinks
from cotlens.explorer.opened import RunFolder
from cotlens.explorer.pages import page_routes
from cotlens.explorer.security import Guard, Guarded, is_api
from cotlens.explorer.site import Site

__all__ = ["create_app"]

_LONG = "private, max-age=0, must-revalidate"


def create_app(run_dirs: Sequence[Path | RunFolder], guard: Guard | None = None) -> ASGIApp:
    """The explorer of a run, and of a second one to compare it with.

    Args:
        run_dirs: one or two run directories.
        guard: who may ask; a browser on this machine when absent.
    """
    application = FastAPI(
        title="cotlens explorer", description=DESCRIPTION, version=version("cotlens"), redirect_slashes=False,
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
    )  # fmt: skip
    prefixes = ("", "/other")[: len(run_dirs)]
    folders = [one if isinstance(one, RunFolder) else RunFolder(one) for one in run_dirs]
    sites = [
        Site(folder, ServerLinks(prefix), other=next((one for one in folders if one is not folder), None))
        for folder, prefix in zip(folders, prefixes, strict=True)
    ]
    for site, prefix in zip(sites, prefixes, strict=True):
        application.include_router(page_routes(site), prefix=prefix)
        application.include_router(figure_routes(site), prefix=prefix)
        application.include_router(api_routes(site), prefix=prefix, include_in_schema=not prefix)
    application.add_api_route("/static/{name}", _static, include_in_schema=False)
    application.add_api_route("/api", lambda: _description(application, sites[0]), include_in_schema=False)
    _handle_errors(application, sites[0])
    return Guarded(application, guard or Guard())


def _description(application: FastAPI, site: Site) -> Response:
    """The page that tells what the JSON is, made from its OpenAPI description."""
    described = application.openapi()
    return site.page(lambda opened: site.draw(opened, "api.html.j2", title="JSON API", here="api", described=described))


def _static(name: str, request: Request) -> Response:
    found = asset(name)
    if found is None:
        return Response("no such file\n", status_code=404, media_type="text/plain")
    headers = {"ETag": found.etag, "Cache-Control": _LONG}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.media_type, headers=headers)


def _handle_errors(application: FastAPI, site: Site) -> None:
    @application.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if is_api(request.url.path):
            return JSONResponse({"detail": error.detail}, status_code=error.status_code)
        return HTMLResponse(site.message("Not found", "there is no page of this address"), error.status_code)

    @application.exception_handler(RequestValidationError)
    def misread(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        text = f"{first['loc'][-1]}: {first['msg']}"
        if is_api(request.url.path):
            return JSONResponse({"detail": text}, status_code=422)
        return HTMLResponse(site.message("Not understood", text, "The address has a value that does not fit"), 422)
