"""Printing results to stdout."""

from __future__ import annotations

import sys

from rich.console import Console, RenderableType
from rich.text import Text

__all__ = ["draw", "say"]


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")


def draw(content: RenderableType) -> None:
    """Print to stdout; at least 110 columns wide where stdout is no terminal, so that tables are not squeezed.

    Plain text goes out as it is, without a break that is not its own.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 110))
    if isinstance(content, Text):
        console.print(content, soft_wrap=True, end="" if content.plain.endswith("\n") else "\n")
    else:
        console.print(content)
