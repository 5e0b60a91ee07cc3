"""What an intervention shows, in sentences that claim no more than its control allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cotlens.report.analysis_rows import LEVEL
from cotlens.report.edits import KINDS
from cotlens.report.effect_rows import main_effects
from cotlens.report.tables import Row
from cotlens.report.text import count, decimal, joined, p_text, percent, points, readable, span

__all__ = ["effect_words", "loss_words", "rest_words"]

#: Untouched accuracy under which an edit has little room to lower it.
_LITTLE_ROOM = 0.1
#: More sets than this are counted, not listed, in a sentence.
_MOST_NAMED = 6


def effect_words(rows: Sequence[Row], variant: str) -> list[str]:
    """The effect of the first set on accuracy under ``variant``, beside its random sets; then how many sets have one.

    The last sentences are the limits of the test.
    """
    main = [row for row in main_effects(rows) if row["measure"] == "accuracy" and row["value"] is not None]
    if not main:
        return ["No set of neurons was edited, so there is nothing to compare."]
    first = main[0]
    text = (
        f"With {_called(first)} {_done(first)}, accuracy under {variant} was {percent(first['value'])} (interval "
        f"{span(first['low'], first['high'])}), against {percent(first['untouched'])} untouched"
    )
    if not first["control_draws"]:
        return [
            text + ".",
            "No random sets were edited (intervene.control_draws is 0), so no effect of these neurons in particular "
            "can be shown.",
        ]
    band = span(first["random_low"], first["random_high"])
    text += (
        f" and {percent(first['random'])} with as many matched random neurons treated alike "
        f"({count(first['control_draws'], 'random set')}, {band}); one-sided {p_text(first['p_value'])}."
    )
    return [text, _verdict(first), *_others(main), *_limits(first)]


def _verdict(row: Row) -> str:
    if row["value"] < row["untouched"] and row["p_value"] <= LEVEL:
        return (
            "In this run, accuracy was lower than with the random sets: the answers to these questions depend more on "
            "these neurons than on random ones that match them."
        )
    return "No effect beyond that of random neurons is shown."


def _others(main: Sequence[Row]) -> list[str]:
    """How many of all sets and edits cost more than their random sets, after correction."""
    tested = [row for row in main if row["q_value"] is not None]
    if len(tested) < 2:
        return []
    sure = [row for row in tested if row["sure"] and row["value"] < row["untouched"]]
    several = len({row["edit"] for row in tested}) > 1
    named = [f"{row['set']}, {row['edit']}" if several else row["set"] for row in sure]
    text = (
        f"Of {len(tested)} sets and edits that were compared, {len(sure) or 'none'} "
        f"{'costs' if len(sure) < 2 else 'cost'} more right answers than its random sets with q below 5%"
    ).replace("its random" if len(sure) > 1 else "\0", "their random")
    return [text + (f": {joined(named)}." if 0 < len(named) <= _MOST_NAMED else ".")]


def _limits(row: Row) -> list[str]:
    floor = 1 / (1 + row["control_draws"])
    text = f"With {count(row['control_draws'], 'random set')} p cannot fall below {floor:.2g}"
    if floor > LEVEL:
        least = math.ceil(1 / LEVEL) - 1
        text += (
            f", so this run could not have shown an effect at the 5% level; set intervene.control_draws to {least} or "
            "more"
        )
    limits = [text + "."]
    if row["untouched"] is not None and row["untouched"] < _LITTLE_ROOM:
        limits.append("An untouched accuracy this low leaves little room for a fall.")
    return limits


def loss_words(losses: Sequence[Row]) -> list[str]:
    """Whether the first set's edit breaks the model or its arithmetic, as far as text and other questions tell."""
    if not losses:
        return []
    first = losses[0]
    own = {row["measure"]: row for row in losses if row["line"] == first["line"]}
    general = [own[measure] for measure in ("perplexity", "questions") if measure in own]
    if "accuracy" not in own or not general:
        return []
    told = {
        "perplexity": lambda row: f"multiplied the perplexity of plain text by {decimal(row['loss'])}",
        "questions": lambda row: (
            f"changed right answers to questions without arithmetic by {points(-row['loss'])} points"
        ),
    }
    text = f"The same edit {joined([told[row['measure']](row) for row in general])}."
    if any(row["q_value"] is None for row in (own["accuracy"], *general)):
        return [text, "Without random sets, whether that is much can’t be told."]
    worse = [row for row in general if row["sure"] and row["loss"] > (1 if row["measure"] == "perplexity" else 0)]
    if own["accuracy"]["sure"] and own["accuracy"]["loss"] > 0:
        if worse:
            return [text, "That, too, is more than random sets cost: the edit harms more than arithmetic."]
        return [
            text,
            "Neither is shown to exceed what random sets cost: as far as these measures tell, the model calculates "
            "worse without being broken.",
        ]
    if worse:
        return [text, "That is more than random sets cost, while right answers are not: no sign of arithmetic."]
    return [text, "Not one of these losses is shown to exceed that of random sets."]


def rest_words(rows: Sequence[Row]) -> list[str]:
    """Whether the first set is enough: what is left when all but it is edited."""
    main = [row for row in main_effects(rows, "rest") if row["measure"] == "accuracy" and row["value"] is not None]
    if not main:
        return []
    row = main[0]
    text = (
        f"With all discovered neurons of the same layers but {_called(row)} {_done(row)}, {percent(row['value'])} of "
        f"the answers were right (interval {span(row['low'], row['high'])})"
    )
    if row["random"] is None:
        return [text + "; no random sets were left alone to compare with."]
    text += (
        f"; with all but a random set, {percent(row['random'])} "
        f"({count(row['control_draws'], 'set')}, {span(row['random_low'], row['random_high'])}); one-sided "
        f"{p_text(row['p_value'])}."
    )
    if row["value"] > row["random"] and row["p_value"] <= LEVEL:
        return [text, "Leaving these neurons alone saves more than leaving random ones alone."]
    return [text, "Leaving these neurons alone is not shown to save more than leaving random ones alone."]


def _called(row: Row) -> str:
    """``the 74 reasoning neurons``, or the name of the set."""
    name, _, size = row["set"].rpartition(" (")
    if name == "reasoning":
        return f"the {size.removesuffix(')')} reasoning neurons"
    if row["set"] == "reasoning":
        return "the reasoning neurons"
    return f"the neurons of {readable(row['set'], 40)}"


def _done(row: Row) -> str:
    """``corrupted by noise (noise 1)``."""
    done = KINDS[row["kind"]].done if row["kind"] in KINDS else "edited"
    return done if done.endswith(row["edit"]) else f"{done} ({row['edit']})"
