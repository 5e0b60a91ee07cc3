"""How results look in a terminal. Results go to stdout, progress to stderr."""

from cotlens.terminal.catalog import model_card, model_table, protocol_table
from cotlens.terminal.console import draw, say
from cotlens.terminal.judges import concept_table, estimate_table, judge_table, reliability_table
from cotlens.terminal.models import atlas_line, neuron_panel, search_tables, trace_line, trace_table
from cotlens.terminal.progress import RichProgress
from cotlens.terminal.prompts import prompt_difference, prompt_text, variant_table
from cotlens.terminal.summary import files_written, rescored_table, summary

__all__ = [
    "RichProgress",
    "atlas_line",
    "concept_table",
    "draw",
    "estimate_table",
    "files_written",
    "judge_table",
    "model_card",
    "model_table",
    "neuron_panel",
    "prompt_difference",
    "prompt_text",
    "protocol_table",
    "reliability_table",
    "rescored_table",
    "say",
    "search_tables",
    "summary",
    "trace_line",
    "trace_table",
    "variant_table",
]
