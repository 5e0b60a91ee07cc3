"""What a model's neurons do: one neuron, or a text token by token."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cotlens.tokens import visible

__all__ = ["atlas_line", "neuron_panel", "search_tables", "trace_line", "trace_table"]

#: Tokens of each neuron in the table of a search.
_TOKENS = 6


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


def trace_line(found: dict[str, Any]) -> RenderableType:
    """The page that ``cotlens trace --html`` wrote."""
    return Text(f"{found['file']}: {found['tokens']:,} tokens; open it in a browser")


def search_tables(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.project.search.describe_token` found."""
    head = Text.assemble(
        "Token ", (visible(found["token"]), "bold"), f" ({found['token_id']}) among all {found['neurons']:,} neurons "
        f"of {found['model']}"
    )  # fmt: skip
    note = Text(
        f"Logits are the token's entry of W_U v in fp32 (norm: {found['norm']}). Rank: its place among all tokens that "
        "the neuron promotes, or suppresses. With a negative coefficient the two change places.",
        style="dim",
    )
    parts = [
        _search_table(found, "promotes", "promoted", "green"),
        _search_table(found, "suppresses", "suppressed", "magenta"),
    ]
    return Group(head, *(item for part in parts for item in (Text(""), part)), Text(""), note)


def atlas_line(found: dict[str, Any]) -> RenderableType:
    """What the command `cotlens atlas` wrote."""
    return Text(
        f"{found['file']}: {found['neurons']:,} neurons of {found['layers']} layers of {found['model']}, "
        f"{found['top_n']} tokens at each end (norm: {found['norm']}); {found['size_bytes'] / 1e6:,.1f} MB"
    )


def _search_table(found: dict[str, Any], effect: str, end: str, style: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"{effect} it", no_wrap=True)
    for name in ("logit", "rank", "length"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"most {end}", no_wrap=True, overflow="ellipsis")
    for row in found[effect]:
        tokens = "  ".join(visible(token["token"], most=11) for token in row[end][:_TOKENS])
        table.add_row(
            Text(row["neuron"], style="cyan"), f"{row['logit']:+.3f}", f"{row['rank']:,}", f"{row['value_norm']:.3f}",
            Text(tokens, style=style),
        )  # fmt: skip
    return table
