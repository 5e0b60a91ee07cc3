"""From a run to its page: what is read, what is shown, in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cotlens.report import effect_words, exhibits, facts, words
from cotlens.report.all_figures import figures_of
from cotlens.report.catalogue import Changed, changed_answer, concept_groups
from cotlens.report.downloads import Download, downloads
from cotlens.report.effect_rows import loss_rows, main_effects
from cotlens.report.figure import NARROW, WIDE, Figure, NothingToShow
from cotlens.report.judges import judge_exhibit, label_replies
from cotlens.report.prompts import prompt_exhibit
from cotlens.report.results import Results
from cotlens.report.svg import concept_colour, to_svg
from cotlens.report.svg_text import inline_svg
from cotlens.report.tables import Row
from cotlens.report.text import readable
from cotlens.report.walkthrough import walk_through
from cotlens.store import Run

__all__ = ["intervention_words", "render"]


def render(run: Run) -> str:
    """The whole page, with style, charts and tables inside it."""
    environment = Environment(
        loader=PackageLoader("cotlens.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    source, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    return environment.get_template("report.html.j2").render(style=Markup(source), **_context(Results(run)))


def _context(results: Results) -> dict[str, Any]:
    run, config = results.run, results.run.config
    opening = words.opening_words(
        config, results.problems, results.projected, results.reasoning, len(results.concept_ids)
    )
    intervention = _intervention_paragraphs(results)
    return {
        "model": readable(config.model.name, 80),
        "source": readable(config.problems.source, 80),
        "summary": [
            opening,
            words.accuracy_words(results.accuracy),
            words.frequency_words(results.comparison),
            *intervention[0][:2],
        ],
        "duration": facts.duration_words(run),
        "versions": facts.versions_words(run),
        "settings": facts.settings(run, results.problems, results.lowest),
        "glossary": facts.GLOSSARY,
        "prompts": prompt_exhibit(run, results.accuracy),
        "prompt_table": exhibits.prompt_table(results.accuracy),
        "accuracy_words": words.accuracy_words(results.accuracy),
        "failure_words": words.failure_words(_known(lambda: results.failures), results.reference),
        "difference_words": words.difference_words(_known(lambda: results.differences), results.reference),
        "length_words": words.length_words(results.accuracy),
        "apart_words": words.apart_words(results.comparison),
        "frequency_words": words.frequency_words(results.comparison),
        "judged": _judged_words(results),
        "trust": judge_exhibit(run),
        "groups": concept_groups(run, results.concepts, results.neurons),
        "walk": walk_through(run, results.concepts, results.neurons),
        "colours": {concept: (place, concept_colour(place)) for place, concept in enumerate(results.concept_ids)},
        "intervention": intervention,
        "changed": _changed(results),
        "figures": figures_of(results),
        "draw": _draw,
        "config": config,
        "cotlens_version": run.manifest.packages.get("cotlens", ""),
        "manifest": facts.manifest_json(run),
    }


class _Drawn(NamedTuple):
    """A figure's chart for wide and for narrow screens, and its files."""

    wide: Markup
    narrow: Markup
    files: tuple[Download, ...]


def _draw(figure: Figure) -> _Drawn:
    # The SVG comes from our own specifications, whose texts are made readable before and escaped by the renderer.
    wide, narrow = (to_svg(figure.chart(width)) for width in (WIDE, NARROW))
    return _Drawn(
        Markup(inline_svg(wide, f"{figure.name}-{WIDE}")),
        Markup(inline_svg(narrow, f"{figure.name}-{NARROW}")),
        downloads(figure, wide),
    )


def _known(rows: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a table that an older run may lack; its figure says why there are none."""
    try:
        return rows()
    except NothingToShow:
        return []


def intervention_words(results: Results) -> list[str]:
    """What the interventions show, sentence by sentence, or why they show nothing."""
    return [sentence for sentences in _intervention_paragraphs(results) for sentence in sentences]


def _intervention_paragraphs(results: Results) -> list[list[str]]:
    if not results.reasoning and not _known(lambda: results.effects):
        return [["No neuron was confirmed as a reasoning neuron, so there was none to edit and nothing to compare."]]
    try:
        effects = results.effects
    except NothingToShow as reason:
        return [[f"What the interventions show can’t be said: {readable(str(reason), 400)}"]]
    variant = results.names[results.run.config.intervene.variant]
    paragraphs = [
        effect_words.effect_words(effects, variant),
        effect_words.loss_words(loss_rows(effects)),
        effect_words.rest_words(effects),
    ]
    return [sentences for sentences in paragraphs if sentences]


def _changed(results: Results) -> Changed | None:
    """An answer that the strongest edit of the first set changed."""
    main = main_effects(_known(lambda: results.effects))
    return changed_answer(results.run, main[0]) if main else None


def _judged_words(results: Results) -> str:
    """How many pairs of neuron and concept were judged, and with what outcome."""
    asked = {(reply["neuron"], reply["sign"], reply["concept"]): reply for reply in label_replies(results.run)}
    failed = sum(reply["status"] != "ok" for reply in asked.values())
    text = (
        f"{len(asked):,} pairs of a signed neuron and a concept passed the seed-word filter and were judged; "
        f"{results.concepts.height:,} were confirmed"
    )
    return text + (f", {failed:,} got no verdict." if failed else ".")


def _harmless(value: object) -> object:
    """The last net under every text that goes into the page: what could hide or act is escaped here if not before."""
    return readable(value, len(value)) if isinstance(value, str) and not isinstance(value, Markup) else value
