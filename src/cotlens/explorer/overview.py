"""What was run, how far it came, and what it found: the first page."""

from __future__ import annotations

from collections.abc import Callable

from cotlens.explorer.attempt import attempt
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record, Table
from cotlens.explorer.tables import results_of
from cotlens.report import facts, words
from cotlens.report.judges import judge_exhibit
from cotlens.report.page import intervention_words
from cotlens.report.text import duration, readable

__all__ = ["Overview", "Reliability", "Stage", "read_overview"]

#: What each stage leaves behind, in the order of the pipeline.
STAGES = {
    "generate": "completions",
    "discover": "active neurons",
    "project": "promoted tokens",
    "label": "concepts",
    "analyze": "tables",
    "intervene": "interventions",
    "report": "report.html",
}


class Stage(Record):
    """``status`` is ``done``, ``running`` (begun and not finished) or ``missing``."""

    name: str
    makes: str
    status: str
    duration: str
    files: int


class Reliability(Record):
    """How far the judge can be trusted."""

    sentences: list[str]
    judges: Table
    concepts: Table | None


class Overview(Record):
    model: str
    source: str
    folder: str
    created: str
    summary: list[str]
    stages: list[Stage]
    damage: list[str]
    """Files that are not as the manifest has them."""
    settings: list[tuple[str, str]]
    versions: str
    reliability: Reliability | None
    has_report: bool
    missing: list[str]
    """Why parts of this page are absent."""


def read_overview(opened: OpenedRun) -> Overview:
    """What there is to say of a run, finished or not."""
    run = opened.run
    missing: list[str] = []

    def read(what: Callable[[], list[str]]) -> list[str]:
        found = attempt(what)
        if found.reason and found.reason not in missing:
            missing.append(found.reason)
        return found.value or []

    trust = attempt(lambda: _reliability(opened)) if opened.has("label", "reliability.parquet") else None
    if trust is not None and trust.reason:
        missing.append(trust.reason)
    return Overview(
        model=readable(run.config.model.name, 80),
        source=readable(run.config.problems.source, 80),
        folder=readable(run.path.resolve().name, 80),
        created=readable(run.manifest.created_at, 40),
        summary=read(lambda: _summary(opened)),
        stages=_stages(opened),
        damage=[readable(text, 300) for text in opened.damage],
        settings=attempt(lambda: _settings(opened)).value or [],
        versions=attempt(lambda: facts.versions_words(run)).value or "",
        reliability=trust.value if trust else None,
        has_report=opened.has("report", "report.html"),
        missing=missing,
    )


def _summary(opened: OpenedRun) -> list[str]:
    results, config = results_of(opened), opened.run.config
    return [
        words.opening_words(config, results.problems, results.projected, results.reasoning, len(results.concept_ids)),
        words.accuracy_words(results.accuracy),
        words.frequency_words(results.comparison),
        *intervention_words(results)[:2],
    ]


def _settings(opened: OpenedRun) -> list[tuple[str, str]]:
    config = opened.run.config
    problems = attempt(lambda: opened.completions()["question_id"].n_unique()).value or 0
    return facts.settings(opened.run, problems, config.label.min_layer or 0)


def _stages(opened: OpenedRun) -> list[Stage]:
    stages = []
    for name, makes in STAGES.items():
        record = opened.run.manifest.stages.get(name)
        stages.append(
            Stage(
                name=name,
                makes=makes,
                status="missing" if record is None else record.status,
                duration="" if record is None else duration(record.duration_s),
                files=0 if record is None else len(record.parts),
            )
        )
    return stages


def _reliability(opened: OpenedRun) -> Reliability | None:
    opened.frame("label", "reliability.parquet")
    found = judge_exhibit(opened.run)
    if found is None:
        return None
    tables = [
        None if table is None else Table(head=table.head, rows=list(table.rows), names=table.names)
        for table in (found.judges, found.concepts)
    ]
    judges, concepts = tables
    assert judges is not None
    return Reliability(sentences=[text for text in found.sentences if text], judges=judges, concepts=concepts)
