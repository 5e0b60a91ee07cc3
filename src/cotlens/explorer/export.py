"""The explorer as a folder of files that any web server can show, without cotlens behind it.

What a reader would have to ask a server for is left out: filters, pages of long lists, and the neurons and completions
beyond those that get a page: the labelled neurons, and the first questions under each variant.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotlens.errors import EnvironmentFault, InputError
from cotlens.explorer import views
from cotlens.explorer.active import Cell, activity, read_step
from cotlens.explorer.assets import asset, asset_names
from cotlens.explorer.attempt import attempt
from cotlens.explorer.charts import as_png, as_record, as_svg
from cotlens.explorer.checked import check_part
from cotlens.explorer.completion_list import CompletionFilter
from cotlens.explorer.figures import Wanted, find_figure
from cotlens.explorer.file_links import Exported, FigureFile, FileLinks
from cotlens.explorer.opened import OpenedRun, RunFolder
from cotlens.explorer.search import NeuronFilter, find_neurons
from cotlens.explorer.site import NAV, Site
from cotlens.explorer.walk import ALL
from cotlens.types import NeuronId, Progress

__all__ = ["export"]

#: Labelled neurons that get a page, those active most often; and rows of a list, on one page.
_NEURONS, _ROWS = 2000, 2000
#: Tokens of a neuron without a label, in the grid.
_FEW_TOKENS = 3


def export(run_dirs: Sequence[Path], out: Path, limit: int, progress: Progress) -> None:
    """Write the pages of a run into the new folder ``out``.

    Args:
        run_dirs: the run, and one to compare it with.
        out: does not exist yet, or is empty.
        limit: questions of each variant that get a page.
        progress: told how many pages are written.

    Raises:
        InputError: no run, or ``out`` holds something.
        EnvironmentFault: the folder can't be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--static {out}: holds something; name a new folder")
    folders = [RunFolder(path) for path in run_dirs]
    opened = folders[0].now()
    if opened.has("discover", "activations/"):
        attempt(lambda: opened.make_index(progress))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            _Export(folders, opened, _chosen(opened, limit), temporary, progress).write()
            temporary.chmod(0o755)
            if out.exists():
                out.rmdir()
            temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise EnvironmentFault(f"{out}: can't be written: {error.strerror or error}") from None


def _chosen(opened: OpenedRun, limit: int) -> Exported:
    """What gets a page of its own."""
    completions = attempt(lambda: opened.completions().select("variant", "question_id")).value
    names = [] if completions is None else completions.group_by("variant", maintain_order=True).head(limit).rows()
    neurons: list[NeuronId] = []
    if opened.has("label", "concepts.parquet"):
        wanted = NeuronFilter(concept="any")
        found = attempt(lambda: find_neurons(opened, wanted, 1, _NEURONS)).value
        neurons = [NeuronId(row.layer, row.neuron) for row in found.rows] if found else []
    pairs = [(first, second) for first in opened.variants[:1] for second in opened.variants[1:]]
    return Exported.of(names, neurons, pairs)


@dataclass(frozen=True)
class _Export:
    folders: Sequence[RunFolder]
    opened: OpenedRun
    chosen: Exported
    out: Path
    progress: Progress

    def write(self) -> None:
        pages = self._pages()
        self.progress.begin("export", len(pages))
        for name, make in pages.items():
            site = self._site(name.count("/"))
            made = attempt(lambda make=make, site=site: make(site))  # type: ignore[misc]
            page = site.message("This page can’t be shown", made.reason) if made.value is None else made.value
            self._put(name, page)
            self.progress.advance(1)
        for variant, question in self.chosen.completions:
            self._put_activity(variant, question)
        self._put_figures()
        for name in asset_names():
            found = asset(name)
            assert found is not None, "a name that the assets gave themselves"
            self._put(f"static/{name}", found.data)
        self._put_report()

    def _site(self, depth: int) -> Site:
        nav = tuple(entry for entry in NAV if entry[0] != "compare" or self.chosen.pairs)
        other = self.folders[1] if len(self.folders) > 1 else None
        links = FileLinks("../" * depth, self.chosen)
        return Site(self.folders[0], links, nav=nav, other=other, api="", can_pair=False, is_static=True)

    def _pages(self) -> dict[str, Callable[[Site], str]]:
        opened = self.opened
        pages: dict[str, Callable[[Site], str]] = {
            "index.html": lambda site: views.overview_page(site, opened),
            "completions.html": lambda site: views.completions_page(site, opened, CompletionFilter(), 1, _ROWS),
            "neurons.html": lambda site: views.neurons_page(site, opened, NeuronFilter(concept="any"), 1, _ROWS),
            "concepts.html": lambda site: views.concepts_page(site, opened),
            "interventions.html": lambda site: views.interventions_page(site, opened, 0, "", 1, _ROWS),
        }
        for variant, question in self.chosen.completions:
            name = self.chosen.completions[variant, question]
            pages[f"completion/{name}.html"] = lambda site, at=(variant, question): views.completion_page(  # type: ignore[misc]
                site, opened, at, ALL, "", None
            )
        for layer, neuron in self.chosen.neurons:
            name = str(NeuronId(layer, neuron))
            pages[f"neuron/{name}.html"] = lambda site, name=name: views.neuron_page(site, opened, name)  # type: ignore[misc]
        for a, b in self.chosen.pairs:
            pages[self.chosen.pairs[a, b]] = lambda site, a=a, b=b: views.compare_page(  # type: ignore[misc]
                site, opened, a, b, "", "differing", 1
            )
        return pages

    def _put(self, name: str, content: str | bytes) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def _put_activity(self, variant: str, question: str) -> None:
        """What the script of a completion's page asks for: its activity, and the cells of every step."""
        found = attempt(lambda: activity(self.opened, variant, question)).value
        if found is None:
            return
        folder = f"completion/{self.chosen.completions[variant, question]}"
        self._put(f"{folder}/activity.json", found.model_dump_json())
        for step in range(found.steps):
            layers = [[_small(cell) for cell in row] for row in read_step(self.opened, variant, question, step).layers]
            text = json.dumps({"layers": layers}, ensure_ascii=False, separators=(",", ":"))
            self._put(f"{folder}/steps/{step}.json", text)

    def _put_figures(self) -> None:
        """The charts that the pages written name."""
        site = self._site(0)
        for name, wanted in sorted(self.chosen.figures.items()):
            made = attempt(lambda wanted=wanted: _drawn(site, wanted))  # type: ignore[misc]
            if made.value is not None:
                self._put(name, made.value)

    def _put_report(self) -> None:
        if self.opened.has("report", "report.html"):
            part = self.opened.run.manifest.stages["report"].parts["report.html"]
            found = attempt(lambda: check_part(self.opened.run.path, "report.html", part).read_bytes()).value
            if found is not None:
                self._put("report.html", found)


def _small(cell: Cell) -> dict[str, Any]:
    """A cell without what its place tells, and of a neuron without a label few tokens: there are many."""
    shown = cell.model_dump(exclude={"layer", "rank"})
    return shown if cell.concepts else shown | {"tokens": cell.tokens[:_FEW_TOKENS]}


def _drawn(site: Site, wanted: FigureFile) -> str | bytes:
    figure = find_figure(site, Wanted(wanted.name, wanted.of, wanted.to, wanted.run))
    if wanted.kind == "json":
        return as_record(figure, wanted.width).model_dump_json()
    if wanted.kind == "csv":
        return figure.csv
    if wanted.kind == "png":
        return as_png(figure, wanted.width)
    return as_svg(figure, wanted.width, wanted.dark)
