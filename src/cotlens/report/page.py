"""From a run to its page: what is read, what is shown, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cotlens.analyze import Effect, intervention_effects
from cotlens.concepts import lowest_layer
from cotlens.report import exhibits, facts, tables, words
from cotlens.report.catalogue import changed_answer, concept_groups
from cotlens.report.names import variant_names
from cotlens.report.prompts import prompt_exhibit
from cotlens.report.svg import concept_colour
from cotlens.report.text import readable
from cotlens.report.walkthrough import walk_through
from cotlens.store import Run

__all__ = ["render"]


@dataclass(frozen=True, slots=True)
class _Results:
    """Every table of the run that the report shows, read once."""

    run: Run
    accuracy: list[tables.Row]
    comparison: list[tables.Row]
    steps: list[tables.Row]
    by_layer: list[tables.Row]
    concept_ids: list[str]
    concepts: pl.DataFrame
    neurons: pl.DataFrame
    interventions: pl.DataFrame
    effects: list[Effect]
    p_value: float
    problems: int
    lowest: int

    @classmethod
    def read(cls, run: Run) -> _Results:
        config, concepts, interventions = run.config, run.concepts(), run.interventions()
        effects, p_value = intervention_effects(interventions, config.analyze.confidence)
        names = variant_names(config.prompt.variants)
        lowest = config.label.min_layer
        return cls(
            run=run,
            accuracy=tables.accuracy_rows(run.analysis("accuracy"), names, run.manifest.prompts),
            comparison=tables.comparison_rows(run.frequencies(), names),
            steps=tables.step_rows(run.analysis("steps"), names),
            by_layer=tables.labelled_by_layer(concepts),
            concept_ids=tables.concept_order(concepts["concept"]),
            concepts=concepts,
            neurons=run.neurons(),
            interventions=interventions,
            effects=effects,
            p_value=p_value,
            problems=run.completions()["question_id"].n_unique(),
            lowest=lowest_layer(run) if lowest is None else lowest,
        )

    @property
    def reasoning(self) -> int:
        """Reasoning neurons; one that was labelled with both signs or for two concepts counts once."""
        return self.concepts.select("layer", "neuron").n_unique()


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
    return environment.get_template("report.html.j2").render(style=Markup(source), **_context(_Results.read(run)))


def _context(results: _Results) -> dict[str, Any]:
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
        "length_words": words.length_words(results.accuracy),
        "apart_words": words.apart_words(results.comparison),
        "frequency_words": words.frequency_words(results.comparison),
        "judged": _judged_words(results),
        "groups": concept_groups(run, results.concepts, results.neurons),
        "walk": walk_through(run, results.concepts, results.neurons),
        "colours": {concept: (place, concept_colour(place)) for place, concept in enumerate(results.concept_ids)},
        "intervention": intervention,
        "changed": changed_answer(run, results.interventions),
        "config": config,
        "cotlens_version": run.manifest.packages.get("cotlens", ""),
        "manifest": facts.manifest_json(run),
    } | _figures(results)


def _figures(results: _Results) -> dict[str, exhibits.Figure | None]:
    """The figures by name; None where the run holds nothing to draw."""
    confidence = results.run.config.analyze.confidence
    n_layers = results.run.manifest.model["n_layers"]
    names = [readable(concept, 24) for concept in results.concept_ids]
    heat, comparison = (
        exhibits.comparison_figures(results.comparison, confidence) if results.comparison else (None, None)
    )
    shown = [
        exhibits.accuracy_figure(results.accuracy, confidence) if results.accuracy else None,
        heat,
        comparison,
        exhibits.layer_figure(results.by_layer, names, n_layers, results.lowest) if results.by_layer else None,
        exhibits.step_figure(results.steps) if results.steps else None,
        exhibits.intervention_figure(results.effects, confidence) if len(results.effects) > 1 else None,
    ]
    keys = ("accuracy", "heat", "comparison", "layers", "steps", "edited")
    return {f"{key}_figure": figure for key, figure in zip(keys, exhibits.numbered(shown), strict=True)}


def _judged_words(results: _Results) -> str:
    """How many pairs of neuron and concept were judged, and with what outcome."""
    asked = {(reply["neuron"], reply["sign"], reply["concept"]): reply for reply in results.run.judgements()}
    failed = sum(reply["status"] != "ok" for reply in asked.values())
    text = (
        f"{len(asked):,} pairs of a signed neuron and a concept passed the seed-word filter and were judged; "
        f"{results.concepts.height:,} were confirmed"
    )
    return text + (f", {failed:,} got no verdict." if failed else ".")


def _harmless(value: object) -> object:
    """The last net under every text that goes into the page: what could hide or act is escaped here if not before."""
    return readable(value, len(value)) if isinstance(value, str) and not isinstance(value, Markup) else value
