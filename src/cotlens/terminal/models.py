"""What a model's neurons do: one neuron, or a text token by token."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cotlens.tokens import visible

__all__ = ["neuron_panel", "trace_table"]


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
