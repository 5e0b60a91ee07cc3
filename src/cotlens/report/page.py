"""From a run to its page: what is read, what is shown, in which order."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cotlens.report import exhibits, facts, words
from cotlens.report.all_figures import all_figures
from cotlens.report.catalogue import changed_answer, concept_groups
from cotlens.report.judges import judge_exhibit, label_replies
from cotlens.report.prompts import prompt_exhibit
from cotlens.report.results import Results, read_results
from cotlens.report.svg import concept_colour
from cotlens.report.text import readable
from cotlens.report.walkthrough import walk_through
from cotlens.store import Run

__all__ = ["render"]


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
    return environment.get_template("report.html.j2").render(style=Markup(source), **_context(read_results(run)))


def _context(results: Results) -> dict[str, Any]:
    run, config = results.run, results.run.config
    opening = words.opening_words(
        config, results.problems, results.neurons.height, results.reasoning, len(results.concept_ids)
    )
    intervention = words.intervention_words(results.effects, results.p_value, config, results.reasoning)
    return {
        "model": readable(config.model.name, 80),
        "source": readable(config.problems.source, 80),
        "summary": [
            opening,
            words.accuracy_words(results.accuracy),
            words.frequency_words(results.comparison),
            *intervention[:2],
        ],
        "duration": facts.duration_words(run),
        "versions": facts.versions_words(run),
        "settings": facts.settings(run, results.problems, results.lowest),
        "glossary": facts.GLOSSARY,
        "prompts": prompt_exhibit(run, results.accuracy),
        "prompt_table": exhibits.prompt_table(results.accuracy),
        "accuracy_words": words.accuracy_words(results.accuracy),
        "failure_words": words.failure_words(results.failures, results.reference),
        "difference_words": words.difference_words(results.differences, results.reference),
        "length_words": words.length_words(results.accuracy),
        "apart_words": words.apart_words(results.comparison),
        "frequency_words": words.frequency_words(results.comparison),
        "judged": _judged_words(results),
        "trust": judge_exhibit(run),
        "groups": concept_groups(run, results.concepts, results.neurons),
        "walk": walk_through(run, results.concepts, results.neurons),
        "colours": {concept: (place, concept_colour(place)) for place, concept in enumerate(results.concept_ids)},
        "intervention": intervention,
        "changed": changed_answer(run, results.interventions),
        "config": config,
        "cotlens_version": run.manifest.packages.get("cotlens", ""),
        "manifest": facts.manifest_json(run),
    } | {f"{key}_figure": figure for key, figure in all_figures(results).items()}


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
