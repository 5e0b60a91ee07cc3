"""What edits of neuron sets do, beside their random sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cotlens.report.edits import edit_name, edit_order, set_names, set_order
from cotlens.tokens import readable

__all__ = ["effect_table"]


def effect_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """The table ``analysis/effects.parquet``, a line for each set, scope and edit; what is not accuracy at its end."""
    if not rows:
        return Text("Interventions: no set was edited")
    table = Table(
        title="Accuracy that remains when a set of neurons is edited, and when random sets that match it are",
        title_justify="left", box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    others = [name for name in ("answered", "questions", "perplexity") if any(row["measure"] == name for row in rows)]
    for name in ("set", "edit"):
        table.add_column(name, no_wrap=True)
    for name in ("accuracy", "95% interval", "random", "band", "p", "q", *others):
        table.add_column(name, justify="right")
    by_place = {(*_place(row), row["measure"]): row for row in rows}
    main = [row for row in rows if row["measure"] == "accuracy"]
    names = set_names(set_order(row["target"] for row in rows))
    main.sort(
        key=lambda row: (list(names).index(row["target"]), row["scope"] != "set", edit_order(row["kind"], row["dose"]))
    )
    table.add_row("untouched", "", f"{main[0]['untouched']:.1%}", *[""] * (5 + len(others)))
    for row in main:
        name, edit = names[row["target"]], readable(edit_name(row["kind"], row["dose"]), 24)
        table.add_row(
            Text(f"all but {name}" if row["scope"] == "rest" else name), edit,
            f"{row['value']:.1%}", _span(row["low"], row["high"]), *_beside(row),
            *(_other(by_place.get((*_place(row), measure))) for measure in others),
        )  # fmt: skip
    return Group(table, Text(_note(main, others), style="dim"))


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["target"], row["scope"], row["kind"], row["dose"]


def _beside(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Mean and band of the random sets, and the tests against them."""
    if not row["control_draws"]:
        return "none", "", "", ""
    band = _span(row["random_low"], row["random_high"])
    return f"{row['random']:.1%}", band, f"{row['p_value']:.2g}", f"{row['q_value']:.2g}"


def _span(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{high:.1%}"


def _other(row: dict[str, Any] | None) -> str:
    """What has become of another measure: points, or for perplexity the factor."""
    if row is None or row["value"] is None:
        return ""
    if row["measure"] == "perplexity":
        return f"×{row['value'] / row['untouched']:.2f}"
    return f"{100 * (row['value'] - row['untouched']):+.1f}"


def _note(main: Sequence[dict[str, Any]], others: Sequence[str]) -> str:
    draws = max(row["control_draws"] for row in main)
    texts = [f"With {draws} random sets p can't fall below {1 / (1 + draws):.2g}; q: corrected for the number of sets."]
    told = {
        "answered": "answered: points of answers stated",
        "questions": "questions: points of right answers to questions without arithmetic",
        "perplexity": "perplexity: of plain text, times the untouched model's",
    }
    if others:
        texts.append("; ".join(told[name] for name in others) + ".")
    return " ".join(texts if draws else texts[1:])
