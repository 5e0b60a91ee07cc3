"""Progress bars, on stderr."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["RichProgress"]

#: What each stage is called while it runs.
_STAGES = {
    "generate": "Answering questions",
    "discover": "Discovering neurons",
    "project": "Projecting neurons",
    "similar": "Comparing neurons",
    "label": "Labelling neurons",
    "reread": "Rereading texts",
    "analyze": "Analysing",
    "intervene": "Editing neurons",
    "specificity": "Reading plain text",
    "report": "Writing the report",
    "index": "Indexing activity",
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
