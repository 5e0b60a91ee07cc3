"""The tables of a run."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cotlens.terminal.effects import effect_table
from cotlens.terminal.judges import reliability_table

__all__ = ["files_written", "rescored_table", "summary"]

_CHANGES_SHOWN = 40


def summary(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.summary.summarize` found."""
    parts: list[RenderableType] = [_heading(found)]
    if "accuracy" in found:
        parts.append(_accuracy_table(found["accuracy"]))
        parts.append(_frequency_table(found["frequencies"]))
    if "reliability" in found:
        parts.append(reliability_table(found["reliability"], found["label_mode"]))
    if "effects" in found:
        parts.append(effect_table(found["effects"]))
    elif found["stages"].get("intervene") == "done":
        parts.append(Text("Interventions: no table of effects; the run was made by an earlier version", style="yellow"))
    unfinished = [stage for stage, status in found["stages"].items() if status != "done"]
    if unfinished:
        parts.append(Text(f"Not finished: {', '.join(unfinished)}", style="yellow"))
    if "report" in found:
        parts.append(Text.assemble("Report: ", (found["report"], "bold")))
    return Group(*(part for pair in zip(parts, [Text("")] * len(parts), strict=True) for part in pair))


def files_written(found: dict[str, Any]) -> RenderableType:
    """What ``cotlens figures`` wrote, one file a line."""
    return Text("\n".join(found["files"]))


def rescored_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.rescore.rescore` found."""
    changes, stale = found["changes"], found["stale"]
    if not changes:
        return Text(f"{found['graded']:,} completions graded again; nothing changed.")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("file", "question", "answer before", "answer now", "correct before", "correct now"):
        table.add_column(name)
    for row in changes[:_CHANGES_SHOWN]:
        table.add_row(
            row["file"], row["question_id"], row["before"] or "none", row["after"] or "none",
            _yes(row["correct_before"]), _yes(row["correct"]),
        )  # fmt: skip
    more = f" ({len(changes) - _CHANGES_SHOWN:,} more)" if len(changes) > _CHANGES_SHOWN else ""
    again = f"; made again: {', '.join(stale)}" if stale else ""
    note = Text(f"{found['graded']:,} completions graded again, {len(changes):,} changed{more}{again}.")
    return Group(table, Text(""), note)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _heading(found: dict[str, Any]) -> Text:
    text = Text.assemble((found["run"], "bold"), f": {found['model']} on {found['problems']}")
    if "reasoning_neurons" in found:
        text.append(f"; {found['reasoning_neurons']} reasoning neurons among {found['discovered_neurons']} discovered")
    return text.append(f"; {found['duration_s']:.0f} s of work")


def _accuracy_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="Accuracy by prompt variant; lengths in tokens", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for name in ("variant", "correct", "accuracy", "95% interval", "answered", "tokens", "prompt"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for row in rows:
        table.add_row(
            row["variant"], f"{row['correct']} of {row['questions']}", f"{row['accuracy']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}", f"{row['answered']:.0%}", f"{row['mean_tokens']:.0f}",
            f"{row['mean_prompt_tokens']:.0f}",
        )  # fmt: skip
    return table


def _frequency_table(rows: list[dict[str, Any]]) -> Table:
    """Percentage for each variant and concept, with that of the concept's random sets in brackets."""
    table = Table(
        title="Activation frequency, in percent, of each concept's neurons (of random neurons)",
        title_justify="left", box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    by_place = {(row["variant"], row["concept"], row["set"]): row for row in rows}
    neurons = {row["concept"]: row["neurons"] for row in rows if row["set"] == "concept"}
    table.add_column("variant", no_wrap=True)
    for concept, number in neurons.items():
        table.add_column(f"{concept}\n{number}", justify="right")
    for variant in dict.fromkeys(row["variant"] for row in rows):
        cells = []
        for concept in neurons:
            own, random = (by_place.get((variant, concept, kind)) for kind in ("concept", "random"))
            cells.append(f"{_percent(own)} ({_percent(random)})")
        table.add_row(variant, *cells)
    return table


def _percent(row: dict[str, Any] | None) -> str:
    return "-" if row is None or row["frequency"] is None else f"{100 * row['frequency']:.1f}"
