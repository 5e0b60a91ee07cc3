"""Concepts, judges, what judging would cost, and how far it can be trusted."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cotlens.tokens import printable, visible

__all__ = ["concept_table", "estimate_table", "judge_table", "reliability_table"]

_SHOWN = 6
_NAMES = {
    "random": "yes on random neurons",
    "shuffled": "yes on shuffled tokens",
    "retest": "same answer when asked again",
    "answered": "answered",
    "kappa": "kappa",
    "agreement": "same verdict",
    "sensitivity": "told active texts",
    "specificity": "told other texts",
    "yield": "candidates confirmed",
}
#: Where the judge gives names.
_OPEN = {
    "random": "random neurons named",
    "shuffled": "shuffled tokens named",
    "retest": "same name when asked again",
    "agreement": "same name",
    "yield": "neurons named",
}


def concept_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.concept_views.list_concepts`, and a trial of them, found."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("concept", no_wrap=True)
    tried = found.get("passing")
    for name in ("passing", "neurons") if tried else ("seeds", "words"):
        table.add_column(name, justify="right")
    table.add_column("the judge is asked")
    for row in found["concepts"]:
        numbers = tried[row["id"]].values() if tried else (len(row["seeds"]), len(row["words"]))
        seeds = ", ".join(visible(seed) for seed in row["seeds"][:_SHOWN])
        says = Text.assemble(printable(row["question"]), (f"\nseeds: {seeds}, …" if not tried else "", "dim"))
        table.add_row(Text(row["id"], style="bold"), *(f"{number:,}" for number in numbers), says)
    if not tried:
        note = f"{found['file']}: {len(found['concepts'])} concepts, all valid. --model or --run counts who passes."
    else:
        note = (
            f"{found['tried_on']}: {found['signed_neurons']:,} neurons with a sign in the labelled layers; "
            f"passing: {found['min_seeds']} seeds or more among 20 tokens. A judge would be asked "
            f"{found['questions']:,} questions, and those that test it."
        )
    return Group(table, Text(""), Text(note, style="dim"))


def judge_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.concept_views.list_judges` found."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("--judge", "what it is", "key"):
        table.add_column(name)
    for row in found["judges"]:
        key = "none needed" if not row["key"] else f"{row['key']}, {'set' if row['key_set'] else 'not set'}"
        table.add_row(Text(row["judge"], style="bold"), row["what"], key)
    return table


def estimate_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.concepts.estimate.estimate` found."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("judge", no_wrap=True)
    for name in ("stored", "calls", "tokens in", "tokens out", "about", "at most"):
        table.add_column(name, justify="right")
    for row in found["judges"]:
        table.add_row(
            Text(printable(row["judge"])), f"{row['stored']:,}", f"{row['calls']:,}", f"{row['input_tokens']:,}",
            f"{row['output_tokens']:,}", _usd(row["about_usd"]), _usd(row["at_most_usd"]),
        )  # fmt: skip
    kinds = found["questions"]
    note = (
        f"{kinds['label']:,} questions about candidates, {kinds['random']:,} about random neurons, "
        f"{kinds['shuffled']:,} with shuffled tokens, {kinds['retest']:,} asked twice. One call per question; at most: "
        "what is set aside before sending. Nothing was asked."
    )
    limit = found["max_cost_usd"]
    verdict = "" if limit is None else f" The limit is {_usd(limit)}."
    prices = {row["judge"]: row["price_source"] for row in found["judges"] if row.get("price_source")}
    sources = "".join(f" Price of {judge}: {source}." for judge, source in prices.items())
    return Group(table, Text(""), Text(note + verdict + sources, style="dim"))


def reliability_table(rows: list[dict[str, Any]], mode: str = "concepts") -> RenderableType:
    """The measures over all concepts, of `cotlens.summary.summarize`, and the yield of each concept."""
    names = _NAMES | (_OPEN if mode == "open" else {})
    table = Table(
        title="How far the judge can be trusted", title_justify="left", box=None, padding=(0, 2, 0, 0), min_width=60
    )
    table.add_column("judge", no_wrap=True)
    table.add_column("measure")
    for name in ("of", "value", "interval"):
        table.add_column(name, justify="right")
    for row in rows:
        if row["concept"] == "all" and row["measure"] in names and row["total"]:
            judge = f"{row['judge']} and {row['other']}" if row["other"] else row["judge"]
            table.add_row(Text(printable(judge)), names[row["measure"]], f"{row['total']:,}", *_values(row))
    yields = [row for row in rows if row["measure"] == "yield" and row["concept"] != "all" and row["total"]]
    return Group(table, Text(""), _yield_table(yields)) if yields else table


def _yield_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Candidates confirmed", title_justify="left", box=None, padding=(0, 2, 0, 0), min_width=60)
    table.add_column("concept", no_wrap=True)
    judges = list(dict.fromkeys(row["judge"] for row in rows))
    for judge in judges:
        table.add_column(Text(printable(judge)), justify="right")
    by_place = {(row["concept"], row["judge"]): row for row in rows}
    for concept in dict.fromkeys(row["concept"] for row in rows):
        found = [by_place.get((concept, judge)) for judge in judges]
        cells = [f"{row['count']:,} of {row['total']:,}, {_values(row)[1]}" if row else "–" for row in found]
        table.add_row(Text(concept), *cells)
    return table


def _values(row: dict[str, Any]) -> tuple[str, str]:
    def shown(value: float | None) -> str:
        if value is None or math.isnan(value):
            return "–"
        return f"{value:.2f}" if row["measure"] == "kappa" else f"{value:.1%}"

    return shown(row["value"]), f"{shown(row['low'])} to {shown(row['high'])}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"
