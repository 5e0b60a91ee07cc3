"""What the numbers say, in sentences that claim no more than the numbers do."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.config import RunConfig
from cotlens.report.names import variant_names
from cotlens.report.tables import Row
from cotlens.report.text import count, decimal, joined, percent, readable, span

__all__ = [
    "accuracy_words",
    "apart_words",
    "difference_words",
    "failure_words",
    "frequency_words",
    "length_words",
    "opening_words",
]

#: More variants than this are counted, not listed, in a sentence.
_MOST_NAMED = 4


def opening_words(config: RunConfig, problems: int, discovered: int, reasoning: int, concepts: int) -> str:
    """The model, what it was asked, and what was found in it."""
    variants = list(variant_names(config.prompt.variants).values())
    named = f" ({joined(variants)})" if len(variants) <= _MOST_NAMED else ""
    asked = (
        f"{readable(config.model.name, 80)} answered {count(problems, 'problem')} of "
        f"“{readable(config.problems.source, 80)}” under {count(len(variants), 'prompt variant')}{named}. "
    )
    found = (
        f"Of {count(discovered, 'feed-forward neuron')} found active, the judge “{readable(config.label.judge, 60)}” "
        "confirmed "
    )
    if not reasoning:
        return asked + found + "none as a reasoning neuron."
    what = "a reasoning neuron" if reasoning == 1 else "reasoning neurons"
    return asked + found + f"{count(reasoning)} as {what}, for {count(concepts, 'concept')}."


def accuracy_words(rows: Sequence[Row]) -> str:
    """The range of accuracies, and whether the intervals tell any two variants apart."""
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        return "No question was answered, so there is no accuracy to report."
    if len(known) == 1:
        return f"Accuracy under {_accuracy(known[0])}."
    worst, best = min(known, key=lambda row: row["accuracy"]), max(known, key=lambda row: row["accuracy"])
    if worst["accuracy"] == best["accuracy"]:
        text = f"Accuracy was {percent(best['accuracy'])} under every variant"
    else:
        text = (
            f"Accuracy ranged from {percent(worst['accuracy'])} ({worst['variant']}) to {percent(best['accuracy'])} "
            f"({best['variant']})"
        )
    lowest_end, highest_start = min(known, key=lambda row: row["high"]), max(known, key=lambda row: row["low"])
    if lowest_end["high"] >= highest_start["low"]:
        return text + "; all intervals overlap, so no difference between variants is shown."
    return text + (
        f"; the intervals of {lowest_end['variant']} ({span(lowest_end['low'], lowest_end['high'])}) and "
        f"{highest_start['variant']} ({span(highest_start['low'], highest_start['high'])}) do not overlap."
    )


def length_words(rows: Sequence[Row]) -> str:
    """How far apart the prompts are in length, and why a reader should care; empty for a single prompt."""
    known = [row for row in rows if row["prompt_tokens"] is not None]
    if len(known) < 2:
        return ""
    short, long = min(known, key=lambda row: row["prompt_tokens"]), max(known, key=lambda row: row["prompt_tokens"])
    if short["prompt_tokens"] == long["prompt_tokens"]:
        return f"All prompts are {decimal(short['prompt_tokens'], 0)} tokens long on average."
    return (
        f"Prompts are {decimal(short['prompt_tokens'], 0)} ({short['variant']}) to {decimal(long['prompt_tokens'], 0)} "
        f"tokens long ({long['variant']}). Where two variants differ in length as well, a difference in accuracy can’t "
        "be put down to what they show alone."
    )


def frequency_words(rows: Sequence[Row], together: str = "all") -> str:
    """How often all reasoning neurons were active under the first variant, beside their random sets."""
    row = next((row for row in rows if row["concept"] == together), None)
    if row is None:
        return "Without reasoning neurons there is no activation frequency to report."
    text = (
        f"Under {row['variant']}, the reasoning neurons together were active at {percent(row['frequency'], 2)} of "
        f"their neuron-steps (interval {span(row['low'], row['high'], 2)})"
    )
    if row["random"] is None:
        return text + "; there were no other neurons to draw random sets from."
    verdict = {"above": "more often than", "below": "less often than", "": "not clearly apart from"}[row["apart"]]
    return (
        f"{text}, random neurons of the same layers and signs at {percent(row['random'], 2)} "
        f"({span(row['random_low'], row['random_high'], 2)}): {verdict} the random sets."
    )


def apart_words(rows: Sequence[Row], together: str = "all") -> str:
    """In how many cells a concept's whole interval lies outside the band of its random sets."""
    cells = [row for row in rows if row["concept"] != together and row["random"] is not None]
    if not cells:
        return "No concept could be compared with random neurons."
    above, below = ([row for row in cells if row["apart"] == side] for side in ("above", "below"))
    names = list(dict.fromkeys(readable(row["concept"], 24) for row in above))
    text = (
        f"In {len(above) or 'none'} of {count(len(cells), 'cell')} a concept’s interval lies wholly above the band of "
        "its random sets"
    )
    text += f" ({joined(names)})" if names else ""
    text += f", in {len(below)} wholly below" if below else ", in none wholly below"
    return text + "; no correction is made for the number of cells."


def _accuracy(row: Row) -> str:
    interval = span(row["low"], row["high"])
    return (
        f"{row['variant']} was {percent(row['accuracy'])} ({row['correct']} of {row['questions']}, interval {interval})"
    )


def failure_words(rows: Sequence[Row], reference: str) -> str:
    """The most frequent failure under the variant of reference."""
    wrong = [row for row in rows if row["condition"] == reference and row["class"] != "correct" and row["share"]]
    if not wrong:
        return f"Under {reference} no completion is wrong." if rows else ""
    most = max(wrong, key=lambda row: row["share"])
    return (
        f"Every completion is put in one class by executing its equations. Under {reference} the most frequent way to "
        f"fail is {most['kind_name']} ({percent(most['share'])} of the completions)."
    )


def difference_words(rows: Sequence[Row], reference: str) -> str:
    """How many differences stay sure after correction, and what is left when the text is the same."""
    free, forced = ([row for row in rows if row["contrast"] == name] for name in ("free", "forced"))
    if not free:
        return ""

    def sure(some: Sequence[Row]) -> str:
        return f"{sum(row['sure'] for row in some)} of {count(len(some), 'difference')}"

    text = (
        f"Compared with {reference} on the same questions, {sure(free)} between a concept’s frequencies stay below 5% "
        "after correction."
    )
    if forced:
        text += f" With the same text after either prompt it is {sure(forced)}."
    return text
