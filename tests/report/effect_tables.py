"""Tables of interventions with given numbers, as the stage ``intervene`` writes them."""

from __future__ import annotations

import polars as pl

NUMBERS = (
    "untouched value low high difference difference_low difference_high random random_low random_high excess "
    "excess_low excess_high p_value q_value"
).split()
SCHEMA = (
    {"target": pl.String, "scope": pl.String, "kind": pl.String, "dose": pl.Float64, "measure": pl.String}
    | {"draws": pl.Int64, "control_draws": pl.Int64, "questions": pl.Int64}
    | dict.fromkeys(NUMBERS, pl.Float64)
)
DRAWS = {"target": pl.String, "scope": pl.String, "kind": pl.String, "dose": pl.Float64, "set": pl.String}
DRAWS |= {"draw": pl.Int32, "accuracy": pl.Float64, "answered": pl.Float64, "tokens": pl.Float64}
DRAWS |= {"perplexity": pl.Float64, "questions": pl.Float64}
BALANCE = {"target": pl.String, "covariate": pl.String, "target_mean": pl.Float64, "random_mean": pl.Float64}
BALANCE |= {"standardised_difference": pl.Float64, "random_sets": pl.Int64}


def effect(**changes: object) -> dict[str, object]:
    """One effect on accuracy that random sets do not have."""
    row: dict[str, object] = {
        "target": "reasoning", "scope": "set", "kind": "noise", "dose": 1.0, "measure": "accuracy", "draws": 2,
        "control_draws": 20, "questions": 40, "untouched": 0.6, "value": 0.2, "low": 0.1, "high": 0.3,
        "difference": -0.4, "difference_low": -0.5, "difference_high": -0.3, "random": 0.55, "random_low": 0.5,
        "random_high": 0.6, "excess": -0.35, "excess_low": -0.45, "excess_high": -0.25, "p_value": 1 / 21,
        "q_value": 0.048,
    }  # fmt: skip
    return row | changes


def uncontrolled(**changes: object) -> dict[str, object]:
    """An effect without random sets."""
    names = ("random random_low random_high excess excess_low excess_high p_value q_value").split()
    return effect(control_draws=0, **dict.fromkeys(names)) | changes


def effects(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def effect_draws(*effects_: dict[str, object]) -> pl.DataFrame:
    """The untouched model's row, and for every effect on accuracy its draws and those of its random sets."""
    rows: list[dict[str, object]] = [
        {"set": "none", "draw": 0, "accuracy": 0.6, "answered": 1.0, "tokens": 15.0, "kind": "none", "dose": 0.0}
    ]
    for row in effects_:
        if row["measure"] != "accuracy":
            continue
        keys = {name: row[name] for name in ("target", "scope", "kind", "dose")}
        rows += [keys | {"set": row["target"], "draw": n, "accuracy": row["value"]} for n in range(int(row["draws"]))]
        number, low, high = int(row["control_draws"]), row["random_low"], row["random_high"]
        for n in range(number):
            accuracy = low + (high - low) * n / max(1, number - 1)
            rows.append(keys | {"set": "random", "draw": n, "accuracy": accuracy})
    return pl.DataFrame(rows, schema=DRAWS)


def balance(*targets: str, difference: float | None = 0.05) -> pl.DataFrame:
    rows = [
        {"target": target, "covariate": covariate, "target_mean": 2.0, "random_mean": 1.9}
        | {"standardised_difference": difference, "random_sets": 20}
        for target in targets
        for covariate in ("layer", "value_norm", "mean_score", "activity")
    ]
    return pl.DataFrame(rows, schema=BALANCE)
