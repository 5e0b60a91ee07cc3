"""Which figures a run has, in the order in which they are counted: the one place for report, explorer and paper.

Each figure is made from its own tables alone. One whose tables are missing or damaged says why and leaves the others
be, so the figures of a half-finished run can be shown too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from polars.exceptions import PolarsError

from cotlens.errors import InputError
from cotlens.report import analysis_exhibits, effect_exhibits, exhibits
from cotlens.report.effect_rows import dose_rows, loss_rows
from cotlens.report.figure import Figure, NothingToShow, Shown
from cotlens.report.results import Results
from cotlens.report.text import readable
from cotlens.store import Run

__all__ = ["SECTIONS", "all_figures", "figures_of"]

#: Where figures stand: the id of a section of the report, and what it is called.
SECTIONS = {
    "accuracy": "Accuracy",
    "frequency": "Activation frequency",
    "where": "Where and when",
    "intervention": "Intervention",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    section: str
    make: Callable[[Results], Figure]


def all_figures(run: Run) -> dict[str, Shown]:
    """Every figure by name, numbered: the figure, or None and the reason why the run has none."""
    return figures_of(Results(run))


def figures_of(results: Results) -> dict[str, Shown]:
    """`all_figures` of tables that may be read already."""
    shown: dict[str, Shown] = {}
    numbered = 0
    for name, entry in _FIGURES.items():
        found = _shown(entry, results)
        if found.figure is not None:
            numbered += 1
            found = Shown(replace(found.figure, number=numbered, section=entry.section))
        shown[name] = found
    return shown


def _shown(entry: _Entry, results: Results) -> Shown:
    try:
        return Shown(entry.make(results))
    except (NothingToShow, InputError) as reason:
        return Shown(None, readable(str(reason), 400))
    except (OSError, PolarsError) as error:
        return Shown(None, readable(f"A table behind this figure can’t be read: {error}", 400))
    except KeyError as column:
        return Shown(None, readable(f"A table behind this figure has no column {column}.", 400))


def _rows(rows: Sequence[Mapping[str, object]], reason: str) -> None:
    if not rows:
        raise NothingToShow(reason)


_NO_NEURON = "No neuron was labelled, so there is no concept to show."


def _accuracy(results: Results) -> Figure:
    _rows(results.accuracy, "No question was answered.")
    return exhibits.accuracy_figure(results.accuracy, _confidence(results))


def _failures(results: Results) -> Figure:
    _rows(results.failures, "No completion could be put in a class.")
    return analysis_exhibits.failure_figure(results.failures, results.reference, _confidence(results))


def _heat(results: Results) -> Figure:
    _rows(results.comparison, _NO_NEURON)
    return exhibits.heat_figure(results.comparison)


def _comparison(results: Results) -> Figure:
    _rows(results.comparison, _NO_NEURON)
    return exhibits.comparison_figure(results.comparison, _confidence(results))


def _differences(results: Results) -> Figure:
    _rows(results.differences, "There is no second variant, or no labelled neuron, to compare.")
    return analysis_exhibits.difference_figure(results.differences, _confidence(results))


def _correctness(results: Results) -> Figure:
    known = [row for row in results.correctness if row["auc"] is not None]
    _rows(known, "Right and wrong answers under one variant, and labelled neurons, are needed; the run lacks them.")
    return analysis_exhibits.correctness_figure(results.correctness, _confidence(results))


def _layers(results: Results) -> Figure:
    _rows(results.by_layer, "No neuron was labelled, so there are no layers to show.")
    names = [readable(concept, 24) for concept in results.concept_ids]
    return exhibits.layer_figure(results.by_layer, names, results.n_layers, results.lowest)


def _roles(results: Results) -> Figure:
    _rows(results.roles, "There are no labelled neurons, or no token roles, to show.")
    return analysis_exhibits.role_figure(results.roles, results.reference)


def _steps(results: Results) -> Figure:
    _rows(results.steps, "There is no activation of reasoning neurons to follow along the answers.")
    return exhibits.step_figure(results.steps)


def _effects(results: Results) -> Figure:
    return effect_exhibits.effect_figure(results.effects, results.control_draws, _confidence(results))


def _rest(results: Results) -> Figure:
    return effect_exhibits.rest_figure(results.effects, results.control_draws, _confidence(results))


def _doses(results: Results) -> Figure:
    return effect_exhibits.dose_figure(dose_rows(results.effects), _confidence(results))


def _losses(results: Results) -> Figure:
    return effect_exhibits.loss_figure(loss_rows(results.effects), _confidence(results))


def _edit_failures(results: Results) -> Figure:
    return effect_exhibits.edit_failure_figure(results.edit_failures, _confidence(results))


def _balance(results: Results) -> Figure:
    return effect_exhibits.balance_figure(results.balance)


def _confidence(results: Results) -> float:
    return results.run.config.analyze.confidence


_FIGURES = {
    "accuracy": _Entry("accuracy", _accuracy),
    "failures": _Entry("accuracy", _failures),
    "heat": _Entry("frequency", _heat),
    "comparison": _Entry("frequency", _comparison),
    "differences": _Entry("frequency", _differences),
    "correctness": _Entry("frequency", _correctness),
    "layers": _Entry("where", _layers),
    "roles": _Entry("where", _roles),
    "steps": _Entry("where", _steps),
    "effects": _Entry("intervention", _effects),
    "doses": _Entry("intervention", _doses),
    "losses": _Entry("intervention", _losses),
    "rest": _Entry("intervention", _rest),
    "edit_failures": _Entry("intervention", _edit_failures),
    "balance": _Entry("intervention", _balance),
}
