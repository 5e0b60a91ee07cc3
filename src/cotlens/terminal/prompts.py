"""Prompts and variants: the list, one prompt with its roles in colour, the difference of two."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["prompt_difference", "prompt_text", "variant_table"]

_COLOURS = {
    "operand": "cyan",
    "operator": "bold magenta",
    "equals": "bold yellow",
    "result": "bold green",
    "number": "blue",
    "connective": "italic",
    "answer_phrase": "underline",
    "answer": "bold green underline",
}


def variant_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.prompt_views.list_variants` found."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("variant", no_wrap=True)
    table.add_column("what is left or changed")
    counts = ["shots", "lines", "equations", "characters", *(["tokens"] if found["with_tokens"] else [])]
    for name in counts:
        table.add_column(name, justify="right")
    for row in found["variants"]:
        table.add_row(row["variant"], row["description"], *(f"{row[name]:,}" for name in counts))
    sets = ", ".join(found["demonstration_sets"])
    for name, reason in found["left_out"].items():
        table.add_row(name, Text(f"left out: {reason}", style="yellow"), *([""] * len(counts)))
    note = Text(
        f"Demonstrations: {found['demonstrations']} (bundled: {sets}; or a YAML file). Lines and equations are those "
        "of all solutions together. A prompt of your own is file:PATH. `cotlens prompts NAME` prints one.",
        style="dim",
    )
    return Group(table, Text(""), note)


def prompt_text(found: dict[str, Any]) -> Text:
    """What `cotlens.prompt_views.show_prompt` found: the text as it is, coloured by role where that is asked for."""
    text = Text(found["text"])
    if found["roles"]:
        for start, end, role in found["roles"]:
            text.stylize(_COLOURS[role], start, end)
        text.append("\n\nRoles: ")
        for role, colour in _COLOURS.items():
            text.append(role.replace("_", " "), style=colour).append("  ")
    return text


def prompt_difference(found: dict[str, Any]) -> Text:
    """What `cotlens.prompt_views.compare_prompts` found."""
    text = Text()
    for sign, colour, side in (("-", "red", found["one"]), ("+", "green", found["other"])):
        text.append(f"{sign} ", style=colour).append(side["variant"], style="bold").append(f": {side['description']}\n")
    styles = {"-": "red", "+": "green", "@": "cyan"}
    for line in found["lines"]:
        text.append(f"\n{line}", style=styles.get(line[:1]))
    if not found["lines"]:
        text.append("\nThe two prompts are the same.")
    return text
