"""Problem sets on the Hugging Face hub, each an entry in one table, read through the package ``datasets``.

What was fetched once is read from the local cache when the hub can't be reached. `datasets` by itself would try for
half a minute before it looks there, so it is asked first, and briefly, whether the hub answers at all.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cotlens.config import FieldMapping
from cotlens.data.problem_rows import Row, to_problem
from cotlens.errors import ConfigError, EnvironmentFault, MissingExtraError, near_match
from cotlens.hub_probe import hub_answers
from cotlens.types import Problem

__all__ = ["HUB_SETS", "HubSet", "hub_problems"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 2.5
_SHORT_COMMIT = 7
_NOISY = ("datasets", "huggingface_hub")


@dataclass(frozen=True, slots=True)
class HubSet:
    """Where a problem set lies on the hub, and which of its columns hold what."""

    repository: str
    configuration: str
    fields: FieldMapping


HUB_SETS: dict[str, HubSet] = {
    # Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems.
    "gsm8k": HubSet("openai/gsm8k", "main", FieldMapping(question="question", answer="answer")),
    # Patel et al. 2021, Are NLP Models really able to Solve Simple Math Word Problems?
    "svamp": HubSet(
        "ChilleD/SVAMP",
        "default",
        FieldMapping(question=("Body", "Question"), answer="Answer", solution="Equation"),
    ),
    # Miao et al. 2020, A Diverse Corpus for Evaluating and Developing English Math Word Problem Solvers; the part with
    # arithmetic formulas (ASDiv-A), as prepared by Kadlčík et al. 2023.
    "asdiv": HubSet(
        "MU-NLPC/Calc-asdiv_a",
        "default",
        FieldMapping(question="question", answer="result", solution="chain"),
    ),
    # Roy & Roth 2015, Solving General Arithmetic Word Problems.
    "multiarith": HubSet("ChilleD/MultiArith", "default", FieldMapping(question="question", answer="final_ans")),
}


@lru_cache(maxsize=8)
def hub_problems(name: str, split: str = "test", revision: str | None = None) -> tuple[Problem, ...]:
    """The problems of the hub set ``name``, in its order; of a question that stands there twice, the first.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        EnvironmentFault: not in the cache and out of reach, or gone from the hub.
        ConfigError: no such split.
        DataError: a row without question or answer, naming row and field.
    """
    entry = HUB_SETS[name]
    with _quiet():
        splits = _load(name, entry, revision)
        if split not in splits:
            raise ConfigError(f"problems.split {split!r}: {name} has no such split{near_match(split, splits)}")
        rows = [
            Row(f"{entry.repository}, split {split}, row {number}", values)
            for number, values in enumerate(splits[split], start=1)
        ]
    return tuple(_first_of_each(name, [to_problem(row, entry.fields) for row in rows]))


def _first_of_each(name: str, problems: list[Problem]) -> list[Problem]:
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.id, problem)
    if len(first) < len(problems):
        differ = sorted({problem.id for problem in problems if problem.gold != first[problem.id].gold})
        logger.info(
            "%s: %d of %d problems ask a question that stands there before; the first of each is kept%s",
            name, len(problems) - len(first), len(problems),
            f". Their answers differ for {', '.join(differ)}" if differ else "",
        )  # fmt: skip
    return list(first.values())


def _load(name: str, entry: HubSet, revision: str | None) -> Any:
    """All splits of a set, from the hub or from the cache."""
    datasets = _import_datasets()
    was_offline = datasets.config.HF_HUB_OFFLINE
    here = Path(entry.repository).is_dir()
    offline = not here and (was_offline or not hub_answers(datasets.config.HF_ENDPOINT, _PATIENCE_S))
    datasets.config.HF_HUB_OFFLINE = offline or was_offline
    try:
        splits = datasets.load_dataset(entry.repository, entry.configuration, revision=revision)
    except Exception as error:  # whatever the package or its HTTP client makes of a fault out there
        if offline or isinstance(error, ConnectionError) or "LocalEntryNotFoundError" in str(error):
            raise EnvironmentFault(
                f"{name}: {entry.repository} is not in the local cache, and the hub can't be reached; load it once "
                "where there is a network, or give a local file as problems.source"
            ) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise EnvironmentFault(
            f"{name}: {entry.repository} can't be loaded from the hub: {reason.rstrip('.')}; try another "
            "problems.revision, or give a local file as problems.source"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
    if offline:
        commit = next(Path(file["filename"]).parent.name for files in splits.cache_files.values() for file in files)
        _check_cached_revision(name, entry, revision, commit)
        logger.info("%s: the hub can't be reached; read from the local cache, commit %s", name, commit)
    return splits


def _check_cached_revision(name: str, entry: HubSet, revision: str | None, commit: str) -> None:
    """The cache gives what it has, whichever revision was asked for; its folders are named after commits."""
    from huggingface_hub import constants

    reference = Path(constants.HF_HUB_CACHE) / f"datasets--{entry.repository.replace('/', '--')}/refs/{revision}"
    if revision is None or (len(revision) >= _SHORT_COMMIT and commit.startswith(revision)):
        return
    if not (reference.is_file() and reference.read_text().strip() == commit):
        raise EnvironmentFault(
            f"{name}: the local cache holds {entry.repository} at {commit[:12]}, not at problems.revision "
            f"{revision!r}, and the hub can't be reached; load it once where there is a network, or remove the revision"
        )


def _import_datasets() -> Any:
    try:
        return importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise MissingExtraError("datasets", "data") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Let no progress bar, log line or warning of `datasets` or the hub's client reach the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_bars: tuple[Any, ...] = (_import_datasets(), importlib.import_module("huggingface_hub.utils"))
        shown = [tools for tools in with_bars if not tools.are_progress_bars_disabled()]
        levels = {package: logging.getLogger(package).level for package in _NOISY}
        for tools in shown:
            tools.disable_progress_bars()
        for package in _NOISY:
            logging.getLogger(package).setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for package, level in levels.items():
                logging.getLogger(package).setLevel(level)
            for tools in shown:
                tools.enable_progress_bars()
