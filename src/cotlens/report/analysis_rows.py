"""The rows behind the figures of roles, differences, correctness and failures, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from cotlens.analyze.correctness import EVERY_VARIANT
from cotlens.analyze.failures import CLASSES
from cotlens.analyze.sets import ALL
from cotlens.analyze.step_roles import ROLES
from cotlens.report.tables import Row, clean, compared, concept_order
from cotlens.report.text import readable

__all__ = ["LEVEL", "by_class", "correctness_rows", "difference_rows", "failure_rows", "role_rows"]

#: Corrected p-values below are marked.
LEVEL = 0.05


def _labels(table: pl.DataFrame) -> dict[str, str]:
    """Concept to what it is called, the union last."""
    return {name: readable(name, 24) for name in concept_order(table["concept"])} | {ALL: "all concepts"}


def role_rows(roles: pl.DataFrame, variant: str) -> list[Row]:
    """One row per role of the token predicted and concept, under one variant, as `comparison_rows` gives them."""
    keys = ["role", "concept"]
    table = roles.filter(variant=variant, token="predicted")
    random = table.filter(set="random").select(*keys, "draws", random="frequency", random_low="low", random_high="high")
    own = table.filter(set="concept").drop("set", "draws").join(random, on=keys, how="left")
    labels = _labels(own)
    rows = clean(own.filter(pl.col("frequency").is_not_nan()))
    rows.sort(key=lambda row: (list(labels).index(row["concept"]), ROLES.index(row["role"])))
    shown = {role: f"{role.replace('_', ' ')} ({count:,})" for role, count in own.select("role", "steps").iter_rows()}
    return [row | compared(row) | {"variant": shown[row["role"]]} for row in rows]


def difference_rows(comparisons: pl.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """One row per variant, concept and contrast over all roles; ``sure`` where the corrected p-value is below 5%."""
    table = comparisons.filter(role="all")
    labels, order = _labels(table), list(names)
    rows = clean(table)
    rows.sort(key=lambda row: (list(labels).index(row["concept"]), order.index(row["variant"])))
    return [
        row
        | {"label": labels[row["concept"]], "variant": names[row["variant"]], "reference": names[row["reference"]]}
        | {"sure": row["q_value"] is not None and row["q_value"] < LEVEL}
        for row in rows
    ]


def correctness_rows(correctness: pl.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """One row per concept and variant, all variants together first where there are several."""
    labels = _labels(correctness)
    shown = {EVERY_VARIANT: "all variants"} | dict(names)
    rows = clean(correctness)
    rows.sort(key=lambda row: (list(shown).index(row["variant"]), list(labels).index(row["concept"])))
    return [row | {"label": labels[row["concept"]], "variant": shown[row["variant"]]} for row in rows]


def failure_rows(shares: pl.DataFrame, names: Mapping[str, str]) -> list[Row]:
    """One row per variant and class."""
    rows = [row | {"condition": names[row["variant"]]} for row in clean(shares)]
    return by_class(rows, list(names.values()))


def by_class(rows: list[Row], conditions: list[str]) -> list[Row]:
    """``rows`` by condition and class, with the name of the class and whether its shift is sure."""
    order = list(CLASSES)
    rows.sort(key=lambda row: (conditions.index(row["condition"]), order.index(row["class"])))
    return [row | _cell(row) for row in rows]


def _cell(row: Row) -> dict[str, Any]:
    """The name of a class, and the shift where it is sure."""
    sure = row["q_value"] is not None and row["q_value"] < LEVEL
    return {"kind_name": CLASSES[row["class"]], "sure": sure}
