"""What editing neurons did: effects beside their controls, the sets, and the answers that changed."""

from __future__ import annotations

from typing import Any

import polars as pl

from cotlens.explorer.attempt import attempt
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Page, Record
from cotlens.report.edits import edit_name, edit_order, set_names, set_order
from cotlens.report.tables import clean
from cotlens.report.text import readable

__all__ = [
    "Change",
    "ChangeList",
    "Edit",
    "EditedSet",
    "EffectRow",
    "Interventions",
    "list_changes",
    "read_interventions",
]

_EDIT = ["target", "scope", "kind", "dose"]


class EffectRow(Record):
    """A set edited in one way, and one measure of what is left: shares of one, tokens, or a perplexity.

    ``random`` is the mean over the matched random sets, ``random_low`` to ``random_high`` their band.
    """

    target: str
    name: str
    """What the set is called."""
    scope: str | None = None
    """``set``: its members were edited; ``rest``: everything but them."""
    kind: str
    dose: float
    edit: str
    """Kind and dose in words."""
    measure: str
    draws: int
    control_draws: int
    questions: int | None = None
    untouched: float | None = None
    value: float | None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    random: float | None = None
    random_low: float | None = None
    random_high: float | None = None
    excess: float | None = None
    excess_low: float | None = None
    excess_high: float | None = None
    p_value: float | None = None
    q_value: float | None = None


class EditedSet(Record):
    """Neurons that were edited together; ``draws`` is how many of its kind there are."""

    set: str
    target: str | None
    draws: int
    neurons: int
    """Of the first draw."""


class Edit(Record):
    """One way in which answers were made."""

    set: str
    target: str | None
    scope: str | None
    kind: str
    dose: float | None
    draws: int
    label: str


class Interventions(Record):
    variant: str
    effects: list[EffectRow]
    sets: list[EditedSet]
    edits: list[Edit]
    missing: list[str]


class Change(Record):
    """A question whose answer is another one than untouched."""

    question_id: str
    draw: int
    answer: str | None
    untouched: str | None
    correct: bool
    correct_untouched: bool
    text: str


class ChangeList(Record):
    edit: Edit | None
    rows: list[Change]
    page: Page
    completions: int
    """Answers made with this edit, all draws together."""
    lost: int
    """Right untouched and wrong with the edit."""
    gained: int


def read_interventions(opened: OpenedRun) -> Interventions:
    """All but the answers.

    Raises:
        InputError: nothing was edited yet.
    """
    edits = list_edits(opened)
    effects = attempt(lambda: read_effects(opened))
    sets = attempt(lambda: _sets(opened))
    return Interventions(
        variant=opened.run.config.intervene.variant,
        effects=effects.value or [],
        sets=sets.value or [],
        edits=edits,
        missing=list(dict.fromkeys(found.reason for found in (effects, sets) if found.reason)),
    )


def list_edits(opened: OpenedRun) -> list[Edit]:
    """The edits of the run without the untouched answers, random sets last."""
    rows = opened.frame("intervene", "interventions/")
    there = [name for name in ("set", *_EDIT) if name in rows.columns]
    found = (
        rows.filter(pl.col("set") != "none").group_by(there, maintain_order=True).agg(draws=pl.col("draw").n_unique())
    )
    return [_edit(row) for row in found.sort(pl.col("set") == "random", maintain_order=True).iter_rows(named=True)]


def list_changes(opened: OpenedRun, place: int, which: str = "", number: int = 1, size: int = 30) -> ChangeList:
    """The answers that the edit at ``place`` in `list_edits` changed; of them those ``lost`` or ``gained``."""
    edits = list_edits(opened)
    if not edits:
        return ChangeList(edit=None, rows=[], page=Page(number=1, size=size, total=0), completions=0, lost=0, gained=0)
    edit = edits[min(place, len(edits) - 1)]
    rows = opened.frame("intervene", "interventions/")
    own = rows
    for name in ("set", *_EDIT):
        if name in rows.columns:
            own = own.filter(pl.col(name).eq_missing(pl.lit(getattr(edit, name))))
    untouched = rows.filter(set="none").select("question_id", untouched="answer", correct_untouched="correct")
    both = own.join(untouched, on="question_id", maintain_order="left")
    lost = both.filter(pl.col("correct_untouched") & ~pl.col("correct"))
    gained = both.filter(~pl.col("correct_untouched") & pl.col("correct"))
    other = both.filter(pl.col("answer").ne_missing(pl.col("untouched")))
    shown = {"lost": lost, "gained": gained}.get(which, other)
    page = Page(number=number, size=size, total=shown.height)
    fields = Change.model_fields
    return ChangeList(
        edit=edit,
        rows=[Change.model_validate(row) for row in shown.select(*fields).slice(page.first, size).to_dicts()],
        page=page,
        completions=own.height,
        lost=lost.height,
        gained=gained.height,
    )


def _edit(row: dict[str, Any]) -> Edit:
    names = set_names(list(dict.fromkeys(name for name in (row["set"], row.get("target")) if name)))
    target = row.get("target")
    of = f"random neurons matched to {names[target]}" if row["set"] == "random" and target else names[row["set"]]
    scope = "all but " if row.get("scope") == "rest" else ""
    return Edit(
        set=row["set"], target=target, scope=row.get("scope"), kind=row["kind"], dose=row["dose"], draws=row["draws"],
        label=f"{scope}{of}, {readable(edit_name(row['kind'], row['dose']), 24)}",
    )  # fmt: skip


def read_effects(opened: OpenedRun) -> list[EffectRow]:
    """Every effect.

    Raises:
        InputError: the run has no table of them.
    """
    fields = EffectRow.model_fields
    rows = clean(opened.analysis("effects"))
    names = set_names(set_order(row["target"] for row in rows))
    order = list(names)
    rows.sort(
        key=lambda row: (order.index(row["target"]), row["scope"] == "rest", edit_order(row["kind"], row["dose"]))
    )
    return [
        EffectRow.model_validate(
            {field: row[field] for field in fields if field in row}
            | {"name": names[row["target"]], "edit": readable(edit_name(row["kind"], row["dose"]), 24)}
        )
        for row in rows
    ]


def _sets(opened: OpenedRun) -> list[EditedSet]:
    members = opened.frame("intervene", "intervention_sets.parquet")
    there = [name for name in ("set", "target") if name in members.columns]
    sizes = members.group_by(*there, "draw", maintain_order=True).agg(neurons=pl.len())
    found = sizes.group_by(there, maintain_order=True).agg(draws=pl.len(), neurons=pl.col("neurons").first())
    return [
        EditedSet(set=row["set"], target=row.get("target"), draws=row["draws"], neurons=row["neurons"])
        for row in found.iter_rows(named=True)
    ]
