"""What a mark says when pointed at: one line of text for each row of a figure.

The texts are part of the specifications, so the report's SVG, a live chart and a screen reader say the same.
"""

from __future__ import annotations

from cotlens.report.tables import Row
from cotlens.report.text import count, decimal, p_text, percent, points, points_span, real_span, span

__all__ = [
    "accuracy_tip",
    "area_tip",
    "balance_tip",
    "difference_tip",
    "dose_tip",
    "effect_tip",
    "failure_tip",
    "frequency_tip",
    "layer_tip",
    "loss_tip",
    "step_tip",
]


def accuracy_tip(row: Row) -> str:
    return (
        f"{row['variant']}: {percent(row['accuracy'])} correct ({row['correct']:,} of {row['questions']:,}), interval "
        f"{span(row['low'], row['high'])}"
    )


def frequency_tip(row: Row) -> str:
    """Of one concept, or role, under one variant, beside its random sets."""
    text = (
        f"{row['label']}, {row['variant']}: active at {percent(row['frequency'], 2)} of neuron-steps, interval "
        f"{span(row['low'], row['high'], 2)}"
    )
    if row["random"] is None:
        return text + "; no random sets"
    text += f"; random {percent(row['random'], 2)}, band {span(row['random_low'], row['random_high'], 2)}"
    return text if row["ratio"] is None else f"{text}; ratio {row['ratio']:.2f}"


def layer_tip(row: Row) -> str:
    return f"layer {row['layer']}, {row['concept']}: {count(row['neurons'], 'labelled neuron')}"


def step_tip(row: Row) -> str:
    kind = "reasoning neurons" if row["set"] == "concept" else "random neurons"
    return (
        f"{row['variant']}, {kind}, step {row['step']}: {percent(row['smooth'], 2)} of neuron-steps active around it, "
        f"{percent(row['frequency'], 2)} at it ({count(row['steps'], 'answer')})"
    )


def difference_tip(row: Row) -> str:
    text = "same text" if row["contrast"] == "forced" else "own texts"
    return (
        f"{row['label']}, {row['variant']} against {row['reference']} ({text}): {points(row['difference'], 2)} points, "
        f"interval {points_span(row['low'], row['high'], 2)}; random band "
        f"{points_span(row['random_low'], row['random_high'], 2)}{_tested(row)}"
    )


def area_tip(row: Row) -> str:
    return (
        f"{row['label']}, {row['variant']}: area {decimal(row['auc'])}, interval "
        f"{real_span(row['auc_low'], row['auc_high'])}; random band "
        f"{real_span(row['random_auc_low'], row['random_auc_high'])}"
    )


def failure_tip(row: Row) -> str:
    text = (
        f"{row['condition']}, {row['kind_name']}: {percent(row['share'])} of "
        f"{count(row['completions'], 'completion')}, interval {span(row['low'], row['high'])}"
    )
    if row["difference"] is None:
        return text
    interval = points_span(row["difference_low"], row["difference_high"])
    return f"{text}; shift {points(row['difference'])} points, interval {interval}{_tested(row)}"


def effect_tip(row: Row) -> str:
    """Accuracy with a set edited, in shares of one."""
    text = (
        f"{row['set']}, {row['edit']}: {percent(row['value'])} right, interval {span(row['low'], row['high'])}; "
        f"untouched {percent(row['untouched'])}"
    )
    if row["random"] is None:
        return text + "; no random sets"
    band = span(row["random_low"], row["random_high"])
    return f"{text}; {count(row['control_draws'], 'random set')} {percent(row['random'])}, band {band}{_tested(row)}"


def dose_tip(row: Row) -> str:
    return effect_tip(row | {"edit": f"{row['kind']} at dose {row['dose']:g}"})


def loss_tip(row: Row) -> str:
    """What an edit costs: ``loss`` in shares of one, or a factor for perplexity."""
    if row["measure"] == "perplexity":
        text = f"perplexity {_times(row['loss'])} as high, interval {_times(row['loss_low'], row['loss_high'])}"
        band = _times(row["random_loss_low"], row["random_loss_high"])
    else:
        lost = points_span(row["loss_low"], row["loss_high"])
        text = f"{points(row['loss'])} points lost, interval {lost}"
        band = points_span(row["random_loss_low"], row["random_loss_high"])
    controls = f"; random band {band}{_tested(row)}" if row["random"] is not None else "; no random sets"
    return f"{row['line']}: {text}{controls}"


def balance_tip(row: Row) -> str:
    return (
        f"{row['set']}, {row['matched_on']}: mean {row['target_mean']:.3g}, of "
        f"{count(row['random_sets'], 'random set')} {row['random_mean']:.3g}; standardised difference "
        f"{decimal(row['standardised_difference'])}"
    )


def _times(*factors: float | None) -> str:
    return "–".join("" if factor is None else f"{factor:.2f}" for factor in factors) + "×"


def _tested(row: Row) -> str:
    """``; p = 0.03, q = 0.2`` where there is such a test."""
    found = [
        p_text(row[field]).replace("p", letter, 1)
        for letter, field in (("p", "p_value"), ("q", "q_value"))
        if row.get(field) is not None
    ]
    return f"; {', '.join(found)}" if found else ""
