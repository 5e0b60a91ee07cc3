"""How results look in a terminal. Results go to stdout, progress to stderr."""

from __future__ import annotations

import math
import sys
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from cotlens.tokens import visible

__all__ = ["RichProgress", "draw", "neuron_panel", "say", "summary", "trace_table"]

#: What each stage is called while it runs.
_STAGES = {
    "generate": "Answering questions",
    "discover": "Discovering neurons",
    "project": "Projecting neurons",
    "label": "Labelling neurons",
    "analyze": "Analysing",
    "intervene": "Corrupting neurons",
    "report": "Writing the report",
}


class RichProgress:
    """Progress bars with rate and time left; a line per stage where stderr is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>9}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def begin(self, what: str, total: int) -> None:
        description = _STAGES.get(what, what)
        self._task = self._bars.add_task(description, total=total, rate="")
        if not self._console.is_terminal:
            self._console.print(f"{description} ({total})")

    def advance(self, items: int) -> None:
        if self._task is None:
            return
        self._bars.advance(self._task, items)
        speed = self._bars.tasks[self._task].speed
        if speed:
            self._bars.update(self._task, rate=f"{speed:.1f}/s")


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")


def draw(content: RenderableType) -> None:
    """Print to stdout; at least 100 columns wide where stdout is no terminal, so that tables are not squeezed."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 110))
    console.print(content)


def summary(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.summary.summarize` found."""
    parts: list[RenderableType] = [_heading(found)]
    if "accuracy" in found:
        parts.append(_accuracy_table(found["accuracy"]))
        parts.append(_frequency_table(found["frequencies"]))
    if "interventions" in found:
        parts.append(_intervention_table(found["interventions"], found["intervention_p_value"]))
    unfinished = [stage for stage, status in found["stages"].items() if status != "done"]
    if unfinished:
        parts.append(Text(f"Not finished: {', '.join(unfinished)}", style="yellow"))
    if "report" in found:
        parts.append(Text.assemble("Report: ", (found["report"], "bold")))
    return Group(*(part for pair in zip(parts, [Text("")] * len(parts), strict=True) for part in pair))


def neuron_panel(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.inspect.describe_neuron` found."""
    sign = Text.assemble(
        (found["neuron"], "bold"),
        f" of {found['model']}. Its value vector has length {found['value_norm']:.3f}, longer than "
        f"{found['longer_than']:.0%} of its layer's.",
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("promotes when active positively")
    table.add_column("logit", justify="right")
    table.add_column("probability", justify="right")
    table.add_column("suppresses; promotes when negative")
    table.add_column("logit", justify="right")
    for up, down in zip(found["promoted"], found["suppressed"], strict=True):
        table.add_row(
            Text(visible(up["token"]), style="green"), f"{up['logit']:+.2f}", f"{up['probability']:.2e}",
            Text(visible(down["token"]), style="magenta"), f"{down['logit']:+.2f}",
        )  # fmt: skip
    note = Text(f"Logits are W_U v in fp32 (norm: {found['norm']}); ␣ is a space, ↵ a line break.", style="dim")
    return Group(sign, Text(""), table, Text(""), note)


def trace_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.inspect.trace_text` found."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("after", no_wrap=True)
    table.add_column("comes", no_wrap=True)
    table.add_column("p", justify="right")
    table.add_column("guess", no_wrap=True)
    table.add_column("p", justify="right")
    table.add_column("neurons with the largest direct effect on what comes", no_wrap=True)
    for step in found["steps"]:
        for place, neuron in enumerate(step["neurons"]):
            head = (
                (
                    Text(visible(step["read"])), Text(visible(step["next"]), style="bold"),
                    f"{step['next_probability']:.2f}", Text(visible(step["predicted"])),
                    f"{step['predicted_probability']:.2f}",
                )
                if place == 0
                else ("", "", "", "", "")
            )  # fmt: skip
            promotes = "  ".join(visible(token, most=11) for token in neuron["promotes"])
            arrow = ("↑", "green") if neuron["push"] == "up" else ("↓", "red")
            line = Text.assemble(
                arrow, (f" {neuron['neuron']:<8}", "cyan"), f" {neuron['coefficient']:+8.2f}  ", promotes
            )
            table.add_row(*head, line)
    note = Text(
        "p: the probability the model gives; guess: what it finds likeliest. ↑ ↓: whether the neuron makes what "
        "comes likelier or less likely. Then its coefficient, and the tokens that it "
        "promotes with that sign. Of each layer's top 20 by |m| * ||v||. ␣ is a space.",
        style="dim",
    )
    return Group(table, Text(""), note)


def _heading(found: dict[str, Any]) -> Text:
    text = Text.assemble((found["run"], "bold"), f": {found['model']} on {found['problems']}")
    if "reasoning_neurons" in found:
        text.append(f"; {found['reasoning_neurons']} reasoning neurons among {found['discovered_neurons']} discovered")
    return text.append(f"; {found['duration_s']:.0f} s of work")


def _accuracy_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Accuracy by prompt variant", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("variant", "correct", "accuracy", "95% interval", "answered", "tokens"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for row in rows:
        table.add_row(
            row["variant"], f"{row['correct']} of {row['questions']}", f"{row['accuracy']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}", f"{row['answered']:.0%}", f"{row['mean_tokens']:.0f}",
        )  # fmt: skip
    return table


def _frequency_table(rows: list[dict[str, Any]]) -> Table:
    """Frequency of each concept under each variant, with that of its random sets in brackets."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    table = Table(
        title="Activation frequency of each concept's neurons (of random neurons)",
        title_justify="left", box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    table.add_column("concept")
    table.add_column("neurons", justify="right")
    for variant in variants:
        table.add_column(variant, justify="right")
    by_place = {(row["variant"], row["concept"], row["set"]): row for row in rows}
    for concept in dict.fromkeys(row["concept"] for row in rows):
        cells = []
        for variant in variants:
            own, random = (by_place.get((variant, concept, kind)) for kind in ("concept", "random"))
            cells.append(f"{_percent(own)} ({_percent(random)})")
        first = by_place[variants[0], concept, "concept"]
        table.add_row(concept, str(first["neurons"]), *cells)
    return table


def _intervention_table(rows: list[dict[str, Any]], p_value: float) -> Table:
    caption = "" if math.isnan(p_value) else f"Reasoning below random: p = {p_value:.2f}"
    table = Table(
        title="Accuracy that remains when neurons are corrupted", caption=caption,
        title_justify="left", caption_justify="left", box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    for name in ("set", "draws", "accuracy", "range"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for row in rows:
        table.add_row(
            {"none": "untouched"}.get(row["set"], row["set"]), str(row["draws"]), f"{row['accuracy']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
        )  # fmt: skip
    return table


def _percent(row: dict[str, Any] | None) -> str:
    return "-" if row is None or row["frequency"] is None else f"{row['frequency']:.2%}"
