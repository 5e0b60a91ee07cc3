"""One run as a site: its folder, its addresses, and what every page has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fastapi.responses import HTMLResponse

from cotlens.errors import InputError
from cotlens.explorer.attempt import Attempt, attempt
from cotlens.explorer.drawing import draw
from cotlens.explorer.links import Links
from cotlens.explorer.opened import OpenedRun, RunFolder
from cotlens.report.names import variant_names
from cotlens.report.text import readable

__all__ = ["NAV", "Site"]

#: Page, what it is called, and the key that goes there after ``g``.
NAV = (
    ("", "Overview", "o"),
    ("completions", "Completions", "c"),
    ("neurons", "Neurons", "n"),
    ("concepts", "Concepts", "k"),
    ("compare", "Compare", "v"),
    ("interventions", "Interventions", "i"),
)


@dataclass(frozen=True, slots=True)
class Site:
    folder: RunFolder
    links: Links
    nav: tuple[tuple[str, str, str], ...] = NAV
    other: RunFolder | None = None
    """A second run to compare with."""
    api: str = "/api"
    """Where the JSON is described; empty where there is none."""
    can_pair: bool = True
    """Whether two variants can be shown beside each other."""
    is_static: bool = False
    """Whether the pages are files, with nobody behind them to ask."""

    def beside(self, run: str, opened: OpenedRun) -> OpenedRun:
        """The run that ``opened`` is compared with: itself, or, for ``other``, the second one.

        Raises:
            InputError: there is no second run, or it can't be read.
        """
        if run != "other":
            return opened
        if self.other is None:
            raise InputError("no second run to compare with; give one with --compare")
        return self.other.now()

    def page(self, make: Callable[[OpenedRun], str]) -> HTMLResponse:
        """A page; one that says what is wrong if the run can't be read."""
        return self._answer(attempt(lambda: make(self.folder.now())), "This page can’t be shown", 200)

    def found(self, make: Callable[[OpenedRun], str]) -> HTMLResponse:
        """A page of something that has to be in the run; with status 404 if it is not."""
        return self._answer(attempt(lambda: make(self.folder.now())), "Not found", 404)

    def _answer(self, made: Attempt[str], title: str, otherwise: int) -> HTMLResponse:
        if made.value is not None:
            return HTMLResponse(made.value)
        return HTMLResponse(self.message(title, made.reason), status_code=otherwise)

    def draw(self, opened: OpenedRun, template: str, title: str, here: str, **context: Any) -> str:
        common = {"trail": [], "links": self.links, "site": self._about(opened), "title": title, "here": here}
        return draw(template, **(common | context))

    def message(self, title: str, reason: str, what: str = "This can’t be shown") -> str:
        """A page that says one thing."""
        opened = attempt(self.folder.now).value
        about = self._about(opened)
        return draw(
            "message.html.j2", links=self.links, site=about, title=title, here=None, trail=[], reason=reason, what=what
        )

    def names(self, opened: OpenedRun) -> dict[str, str]:
        """What each variant is called."""
        return variant_names(opened.variants)

    def _about(self, opened: OpenedRun | None) -> SimpleNamespace:
        name = readable(self.folder.path.resolve().name or "run", 60)
        stages = list(opened.run.manifest.stages.values()) if opened else []
        unfinished = sum(stage.status != "done" for stage in stages)
        return SimpleNamespace(
            name=name,
            model=readable(opened.run.config.model.name, 60) if opened else name,
            state="not readable" if opened is None else "not finished" if unfinished else "finished",
            has_report=bool(opened and opened.has("report", "report.html")),
            nav=self.nav,
            search="" if self.is_static else self.links.page("neurons"),
            is_static=self.is_static,
            api=self.api,
        )
