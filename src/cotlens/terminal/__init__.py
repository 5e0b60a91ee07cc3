"""How results look in a terminal. Results go to stdout, progress to stderr."""

from cotlens.terminal.console import draw, say
from cotlens.terminal.models import neuron_panel, trace_table
from cotlens.terminal.progress import RichProgress
from cotlens.terminal.prompts import prompt_difference, prompt_text, variant_table
from cotlens.terminal.summary import rescored_table, summary

__all__ = [
    "RichProgress",
    "draw",
    "neuron_panel",
    "prompt_difference",
    "prompt_text",
    "rescored_table",
    "say",
    "summary",
    "trace_table",
    "variant_table",
]
