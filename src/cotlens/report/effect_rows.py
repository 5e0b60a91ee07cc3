"""The rows behind the figures of interventions, in the order in which they are shown.

An effect is that of one edit of one set on one measure; its columns are those of ``analysis/effects.parquet``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import polars as pl

from cotlens.report.analysis_rows import LEVEL, by_class
from cotlens.report.edits import edit_name, edit_order, strongest
from cotlens.report.tables import Row, clean
from cotlens.report.text import readable

__all__ = [
    "COVARIATES",
    "MEASURES",
    "balance_rows",
    "control_draw_rows",
    "dose_rows",
    "edit_failure_rows",
    "effect_rows",
    "loss_rows",
    "main_effects",
]

#: Measures of an edit, in the order shown; the last one is a ratio.
MEASURES = {
    "accuracy": "right answers",
    "answered": "answers stated",
    "questions": "other questions",
    "perplexity": "perplexity of plain text",
}
#: What control sets are matched on.
COVARIATES = {
    "layer": "layer",
    "value_norm": "value norm",
    "mean_score": "mean score",
    "activity": "activity",
}


def effect_rows(effects: pl.DataFrame, labels: Mapping[str, str]) -> list[Row]:
    """Every effect, by set, edit and measure; ``labels`` gives what each set is called, in the order shown.

    ``sure`` where the corrected p-value is below 5%.
    """
    order = list(labels)
    rows = clean(effects.filter(pl.col("target").is_in(order)))
    rows.sort(key=lambda row: (order.index(row["target"]), edit_order(row["kind"], row["dose"])))
    return [
        row
        | {"set": labels[row["target"]], "edit": readable(edit_name(row["kind"], row["dose"]), 24)}
        | {"sure": row["q_value"] is not None and row["q_value"] < LEVEL}
        for row in rows
    ]


def main_effects(rows: Sequence[Row], scope: str = "set") -> list[Row]:
    """The effects of the strongest dose of each kind of edit."""
    own = [row for row in rows if row["scope"] == scope]
    main = strongest({(row["kind"], row["dose"]) for row in own})
    chosen = [row for row in own if (row["kind"], row["dose"]) in main]
    return sorted(chosen, key=lambda row: main.index((row["kind"], row["dose"])))


def control_draw_rows(draws: pl.DataFrame, effects: Sequence[Row]) -> list[Row]:
    """The accuracy of every random set, under the names that its effect has."""
    keys = ("target", "scope", "kind", "dose")
    named = {tuple(row[key] for key in keys): row for row in effects}
    found = []
    for row in clean(draws.filter(set="random")):
        effect = named.get(tuple(row[key] for key in keys))
        if effect is not None:
            found.append({name: effect[name] for name in ("scope", "set", "edit")} | {"accuracy": row["accuracy"]})
    return found


def dose_rows(rows: Sequence[Row]) -> list[Row]:
    """Accuracy over the doses of each kind that has several; ``panel`` names set and kind, the kind where it must."""
    own = [row for row in rows if row["scope"] == "set" and row["measure"] == "accuracy"]
    doses: dict[tuple[str, str], set[float]] = {}
    for row in own:
        doses.setdefault((row["target"], row["kind"]), set()).add(row["dose"])
    curves = [row for row in own if len(doses[row["target"], row["kind"]]) > 1]
    several = len({row["kind"] for row in curves}) > 1
    return [row | {"panel": f"{row['set']}, {row['kind']}" if several else row["set"]} for row in curves]


def loss_rows(rows: Sequence[Row], scope: str = "set") -> list[Row]:
    """What each set's strongest edits cost, measure by measure: ``loss`` with its interval, and the random sets' band.

    Shares give the fall in points of one, perplexity the factor by which it rises; more is worse in each. ``line``
    names set and edit, the edit where there are several.
    """
    main = [row for row in main_effects(rows, scope) if row["measure"] in MEASURES]
    several = len({row["edit"] for row in main}) > 1
    order = list(MEASURES)
    main.sort(key=lambda row: order.index(row["measure"]))
    return [
        row | _loss(row) | {"line": f"{row['set']}, {row['edit']}" if several else row["set"]}
        for row in main
        if row["difference"] is not None
    ]


def _loss(row: Row) -> Row:
    if row["measure"] == "perplexity":
        ends = {"loss": row["difference"], "loss_low": row["difference_low"], "loss_high": row["difference_high"]}
        ends |= {
            f"random_loss{end}": _log_ratio(row[f"random{end}"], row["untouched"]) for end in ("_low", "", "_high")
        }
        return {field: None if value is None else math.exp(value) for field, value in ends.items()}
    fall = {"loss": row["difference"], "loss_low": row["difference_high"], "loss_high": row["difference_low"]}
    found = {field: None if value is None else -value for field, value in fall.items()}
    for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
        value = row[f"random{other}"]
        found[f"random_loss{end}"] = None if value is None else row["untouched"] - value
    return found


def _log_ratio(value: float | None, untouched: float | None) -> float | None:
    return None if not value or not untouched else math.log(value / untouched)


def edit_failure_rows(shares: pl.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """One row per edit and class: the untouched model first, then each set beside the random sets that match it.

    ``condition`` says the edit where there are several, ``plain`` does not; ``main`` where the figure shows the row.
    """
    rows = clean(shares)
    edits = {(row["kind"], row["dose"]) for row in rows if row["set"] != "none"}
    main = strongest({(row["kind"], row["dose"]) for row in rows if row["scope"] == "set"})
    order = list(names)

    def place(row: Row) -> tuple[object, ...]:
        if row["set"] == "none":
            return (-1,)
        known = order.index(row["target"]) if row["target"] in order else len(order)
        return (known, row["scope"] != "set", *edit_order(row["kind"], row["dose"]), row["set"] == "random")

    several = len(edits) > 1
    rows.sort(key=place)
    told = []
    for row in rows:
        plain = _condition(row, names)
        edit = readable(edit_name(row["kind"], row["dose"]), 24)
        named = f"{plain}, {edit}" if several and row["set"] != "none" else plain
        shown = row["set"] == "none" or (row["scope"] == "set" and (row["kind"], row["dose"]) in main)
        told.append(row | {"plain": plain, "condition": named, "main": shown})
    return by_class(told, list(dict.fromkeys(row["condition"] for row in told)))


def _condition(row: Row, names: Mapping[str, str]) -> str:
    """What a condition is called, its edit aside."""
    if row["set"] == "none":
        return "untouched"
    text = names.get(row["target"]) or readable(str(row["target"]), 24)
    text = f"all but {text}" if row["scope"] == "rest" else text
    return f"random, as {text}" if row["set"] == "random" else text


def balance_rows(balance: pl.DataFrame, labels: Mapping[str, str]) -> list[Row]:
    """One row per set and covariate: how far the control sets' mean lies from the set's, in standard deviations."""
    order, covariates = list(labels), list(COVARIATES)
    rows = [row for row in clean(balance) if row["target"] in labels and row["covariate"] in COVARIATES]
    rows.sort(key=lambda row: (order.index(row["target"]), covariates.index(row["covariate"])))
    return [row | {"set": labels[row["target"]], "matched_on": COVARIATES[row["covariate"]]} for row in rows]
