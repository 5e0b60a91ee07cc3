"""What each page shows: read from the run, put into its template."""

from __future__ import annotations

from typing import Any

from cotlens.explorer.attempt import attempt
from cotlens.explorer.compare import Shown, compare
from cotlens.explorer.compare_charts import compare_figures
from cotlens.explorer.completion_list import CompletionFilter, list_completions
from cotlens.explorer.concepts import list_concepts
from cotlens.explorer.interventions import list_changes, read_interventions
from cotlens.explorer.neuron_charts import neuron_figures
from cotlens.explorer.neurons import Neuron, neighbours, read_neuron
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.overview import read_overview
from cotlens.explorer.search import MATCHES, SORTS, NeuronFilter, find_neurons
from cotlens.explorer.site import Site
from cotlens.explorer.tables import figures_in, results_of
from cotlens.explorer.walk import concepts_of, read_walk
from cotlens.report.all_figures import SECTIONS
from cotlens.report.figure import Figure
from cotlens.report.figure import Shown as ShownFigure
from cotlens.report.page import intervention_words
from cotlens.report.text import count, joined

__all__ = [
    "compare_page",
    "completion_page",
    "completions_page",
    "concepts_page",
    "interventions_page",
    "neuron_page",
    "neurons_page",
    "overview_page",
    "side_labels",
]

#: The report's figures of interventions that the overview shows; the others stand on their own page.
_FIRST_EFFECTS = ("effects", "losses")
_EFFECTS = ("effects", "doses", "losses", "rest", "edit_failures", "balance")


def overview_page(site: Site, opened: OpenedRun) -> str:
    figures = attempt(lambda: figures_in(opened))
    by_section = {
        title: _in_section(figures.value or {}, section, _FIRST_EFFECTS if section == "intervention" else None)
        for section, title in SECTIONS.items()
    }
    return site.draw(
        opened, "overview.html.j2", title="Overview", here="", overview=read_overview(opened),
        sections=list(by_section.items()), broken=figures.reason,
    )  # fmt: skip


def completions_page(site: Site, opened: OpenedRun, wanted: CompletionFilter, page: int, size: int = 50) -> str:
    def address(number: int) -> str | None:
        return site.links.page("completions", **wanted.model_dump(exclude_defaults=True), page=number)

    return site.draw(
        opened, "completions.html.j2", title="Completions", here="completions", wanted=wanted,
        found=list_completions(opened, wanted, page, size), page_address=address, names=site.names(opened),
    )  # fmt: skip


def completion_page(
    site: Site, opened: OpenedRun, name: tuple[str, str], concept: str, beside: str, step: int | None
) -> str:
    first = read_walk(opened, *name, concept, step)
    done = first.completion
    second = attempt(lambda: read_walk(opened, beside, done.question_id, concept, step)) if beside else None
    names = site.names(opened)
    title = f"{done.question_id}, {names.get(done.variant, done.variant)}"
    return site.draw(
        opened, "completion.html.j2", title=title, here="completions",
        trail=[("Completions", site.links.page("completions")), (title, None)],
        first=done, walks=[first] + ([second.value] if second and second.value else []),
        beside=beside if second and second.value else "", beside_reason=second.reason if second else "",
        concepts=concepts_of(opened), concept=concept, step=first.step, names=names, can_pair=site.can_pair,
        ranks=len(first.grid[0]) if first.grid else opened.run.config.discover.top_k,
    )  # fmt: skip


def neurons_page(site: Site, opened: OpenedRun, wanted: NeuronFilter, page: int, size: int = 50) -> str:
    found = find_neurons(opened, wanted, page, size)
    query = wanted.model_dump(exclude_defaults=True)

    def page_address(number: int) -> str | None:
        return site.links.page("neurons", **query, page=number)

    def sort_address(name: str) -> str | None:
        down = not found.descending if name == found.sort else name in ("hits", "value_norm")
        return site.links.page("neurons", **query | {"sort": name, "descending": "yes" if down else "no"})

    return site.draw(
        opened, "neurons.html.j2", title="Neurons", here="neurons", wanted=wanted, found=found, matches=MATCHES,
        sorts=SORTS, concepts=concepts_of(opened), page_address=page_address, sort_address=sort_address,
    )  # fmt: skip


def neuron_page(site: Site, opened: OpenedRun, name: str) -> str:
    neuron = read_neuron(opened, name)
    title, names = f"L{neuron.layer}N{neuron.neuron}", site.names(opened)
    before, after = attempt(lambda: neighbours(opened, neuron.layer, neuron.neuron)).value or (None, None)
    charts = neuron_figures(neuron.active, names) if neuron.active else {}
    return site.draw(
        opened, "neuron.html.j2", title=title, here="neurons",
        trail=[("Neurons", site.links.page("neurons")), (title, None)],
        neuron=neuron, concepts=concepts_of(opened), names=names, charts=list(charts.values()),
        dissent=_dissent(neuron), previous=before, next=after,
    )  # fmt: skip


def concepts_page(site: Site, opened: OpenedRun) -> str:
    layers = attempt(lambda: figures_in(opened)["layers"].figure).value
    return site.draw(
        opened, "concepts.html.j2", title="Concepts", here="concepts", found=list_concepts(opened),
        names=site.names(opened), figures=[layers] if layers else [],
    )  # fmt: skip


def compare_page(site: Site, opened: OpenedRun, a: str, b: str, run: str, shown: Shown, page: int) -> str:
    other = attempt(site.other.now).value if site.other else None
    second = site.beside(run, opened)
    a = a or opened.variants[0]
    b = b or next((name for name in second.variants if second is not opened or name != a), a)
    found = attempt(lambda: compare(opened, a, second, b, shown, page))
    labels = side_labels(site, opened, a, second, b)

    def address(**query: Any) -> str | None:
        return site.links.page("compare", **{"a": a, "b": b, "run": run} | query)

    return site.draw(
        opened, "compare.html.j2", title="Compare", here="compare", found=found.value, reason=found.reason,
        charts=compare_figures(found.value, *labels, opened.run.config.analyze.confidence) if found.value else {},
        a=a, b=b, run=run, across=second is not opened, label_a=labels[0], label_b=labels[1],
        choices_a=site.names(opened), choices_b=site.names(opened) | (site.names(other) if other else {}),
        other=other.run.path.resolve().name if other else "", here_name=opened.run.path.resolve().name,
        concepts=concepts_of(opened), page_address=lambda number: address(shown=shown, page=number),
        pairs=[(name, site.links.page("compare", a=a, b=one)) for one, name in site.names(opened).items()],
        shown_address=lambda value: address(shown=value),
    )  # fmt: skip


def interventions_page(site: Site, opened: OpenedRun, edit: int, which: str, page: int, size: int = 30) -> str:
    figures = attempt(lambda: figures_in(opened)).value or {}
    about = [figures[name] for name in _EFFECTS if name in figures]

    def page_address(number: int) -> str | None:
        return site.links.page("interventions", edit=edit, which=which, page=number)

    return site.draw(
        opened, "interventions.html.j2", title="Interventions", here="interventions",
        found=read_interventions(opened), figures=[one.figure for one in about if one.figure],
        absent=[one.reason for one in about if one.reason],
        changes=attempt(lambda: list_changes(opened, edit, which, page, size)).value,
        words=attempt(lambda: intervention_words(results_of(opened))).value or [],
        names=site.names(opened), place=edit, which=which, page_address=page_address,
    )  # fmt: skip


def _in_section(figures: dict[str, ShownFigure], section: str, names: tuple[str, ...] | None) -> list[Figure]:
    """The figures of a section of the report; of them those of ``names``, if they are given."""
    found = [one.figure for one in figures.values() if one.figure is not None and one.figure.section == section]
    return [figure for figure in found if names is None or figure.name in names]


def side_labels(site: Site, first: OpenedRun, a: str, second: OpenedRun, b: str) -> tuple[str, str]:
    """What the two sides are called: by variant, and by run where these are two."""
    one, other = site.names(first).get(a, a), site.names(second).get(b, b)
    if first is second:
        return one, other
    return f"{one} in {first.run.path.resolve().name}", f"{other} in {second.run.path.resolve().name}"


def _dissent(neuron: Neuron) -> str:
    """What other judges said against the label."""
    deciding = {(label.sign, label.concept): label.verdict for label in neuron.labels if label.decides}
    against = [
        label.judge
        for label in neuron.labels
        if not label.decides
        and label.verdict is not None
        and (label.sign, label.concept) in deciding
        and label.verdict != deciding[label.sign, label.concept]
    ]
    if not against:
        return ""
    judges = list(dict.fromkeys(against))
    return f"{joined(judges)} said otherwise in {count(len(against), 'case')}; the first judge decides."
