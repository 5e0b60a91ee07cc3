"""What a run shows of itself in a notebook: what was run, how far it came, and the accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from cotlens.errors import InputError
from cotlens.notebook import Html, card, chips, paragraph, table

__all__ = ["run_card"]

#: Files whose rows are counted: their beginning, what a row is, and how they are read.
_READ_WITH = {
    "completions/": ("completions", "run.completions()"),
    "activations/": ("steps and layers", "run.activations()"),
    "neurons.parquet": ("discovered neurons", "run.neurons()"),
    "concepts.parquet": ("labels of neurons", "run.concepts()"),
    "analysis/frequencies.parquet": ("frequencies", "run.frequencies()"),
    "interventions/": ("answers under edits", "run.interventions()"),
}


class _Run(Protocol):
    path: Path
    manifest: Any

    def analysis(self, name: str) -> pl.DataFrame: ...


def run_card(run: _Run) -> Html:
    """A card that shows what there is of an unfinished or damaged run, and says what can't be read."""
    config, stages = run.manifest.config, run.manifest.stages
    done = [name for name, record in stages.items() if record.status == "done"]
    open_ = [name for name, record in stages.items() if record.status != "done"]
    facts = f"{config.model.name} on {config.problems.source}, {len(config.prompt.variants)} prompt variants"
    state = f"Done: {', '.join(done) or 'nothing yet'}." + (f" Not finished: {', '.join(open_)}." if open_ else "")
    parts = [paragraph(state), _accuracy(run), _contents(stages)]
    if "report" in done:
        parts.append(paragraph(f"Report: {run.path / 'report.html'}"))
    return card(f"cotlens run {run.path}", facts, *parts)


def _accuracy(run: _Run) -> Html:
    if "analyze" not in run.manifest.stages:
        return Html("")
    try:
        rows = run.analysis("accuracy").to_dicts()
        head = ("variant", "correct", "accuracy", "interval", "tokens")
        return table(head, [_accuracy_row(row) for row in rows], numbers=range(1, 5))
    except (InputError, KeyError) as reason:
        return paragraph(f"No accuracy: {reason}")


def _accuracy_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["variant"],
        f"{row['correct']} of {row['questions']}",
        f"{row['accuracy']:.1%}",
        f"{row['low']:.1%} to {row['high']:.1%}",
        f"{row['mean_tokens']:.0f}",
    )


def _contents(stages: Mapping[str, Any]) -> Html:
    """How many rows there are of what, and how they are read."""
    parts = {name: part for record in stages.values() for name, part in record.parts.items()}
    rows = []
    for start, (what, how) in _READ_WITH.items():
        sizes = [part.rows or 0 for name, part in parts.items() if name.startswith(start)]
        if sizes:
            rows.append((what, f"{sum(sizes):,}", chips([how])))
    return table(("there are", "", "read with"), rows, numbers=[1]) if rows else Html("")
