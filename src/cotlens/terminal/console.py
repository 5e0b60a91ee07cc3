"""Printing results to stdout."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from cotlens.tokens import printable

__all__ = ["draw", "say"]


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(printable(text) + "\n")


def draw(content: RenderableType) -> None:
    """Print to stdout; at least 110 columns wide where stdout is no terminal, so that tables are not squeezed.

    Plain text goes out as it is, without a break that is not its own. What could act on the terminal is shown instead.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 110))
    if isinstance(content, Text):
        content = content.copy()
        content.end = "" if content.plain.endswith("\n") else "\n"
        console.print(_Shown(content), soft_wrap=True)
    else:
        console.print(_Shown(content))


@dataclass(frozen=True)
class _Shown:
    """``content`` with every character printable, however it came there."""

    content: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.content, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
