"""Word problems: the bundled set, sets on the hub, and local files; and subsets of them."""

from __future__ import annotations

import hashlib
import logging
from importlib import resources
from pathlib import Path

from cotlens.config import FieldMapping, ProblemsConfig
from cotlens.data.hub import HUB_SETS, hub_problems
from cotlens.data.problem_files import KINDS, file_rows, json_lines
from cotlens.data.problem_rows import DEFAULT_FIELDS, distinct_problems
from cotlens.data.solutions import used_operators
from cotlens.errors import ConfigError, DataError, near_match
from cotlens.types import Problem

__all__ = ["load_problems"]

logger = logging.getLogger(__name__)

_MINI_FIELDS = FieldMapping(question="question", answer="answer", id="id", solution="solution")


def load_problems(source: str | ProblemsConfig = "mini", limit: int | None = None) -> list[Problem]:
    """The problems of ``source``: filtered, then drawn at random or in their order, then limited.

    Args:
        source: ``mini`` (bundled); ``gsm8k``, ``svamp``, ``asdiv`` or ``multiarith`` (from the hub, with the extra
            ``data``); the path of a ``.jsonl``, ``.json``, ``.csv`` or ``.parquet`` file; or a `ProblemsConfig`, which
            also names columns and subsets. A plain path is read in GSM8K's format: ``question``, and an ``answer``
            that is a number or ends in ``#### NUMBER``.
        limit: take the first so many; stronger than the limit in a `ProblemsConfig`.

    Raises:
        DataError: no such file, or a row that is not valid, naming file, line and field.
        ConfigError: settings that don't fit the source, or that leave no problem.
        EnvironmentFault: a hub source that can't be reached, or the extra ``data`` is missing.
    """
    config = source if isinstance(source, ProblemsConfig) else ProblemsConfig(source=source)
    count = config.limit if limit is None else limit
    if count is not None and count < 1:
        raise ConfigError(f"the limit of problems is {count}; give 1 or more, or none for all")
    return _in_order(_filtered(_all_problems(config), config), config.seed)[:count]


def _all_problems(config: ProblemsConfig) -> list[Problem]:
    source = config.source
    if source in HUB_SETS or source == "mini":
        if config.fields is not None:
            raise ConfigError(f"problems.fields names the columns of a local file, and the source is {source!r}")
        if source != "mini":
            return list(hub_problems(source, config.split, config.revision))
    _refuse_hub_settings(config)
    if source == "mini":
        text = resources.files("cotlens.data").joinpath("mini.jsonl").read_text(encoding="utf-8")
        return distinct_problems(json_lines(text, "mini"), _MINI_FIELDS)
    if Path(source).name == source and "." not in source:
        raise DataError(
            f"{source!r} is no problem set{near_match(source, ('mini', *HUB_SETS))}, nor the path of {KINDS}"
        )
    problems = distinct_problems(file_rows(source), config.fields or DEFAULT_FIELDS)
    if not problems:
        raise DataError(f"{source}: holds no problems; give one with a question and an answer in each row")
    return problems


def _refuse_hub_settings(config: ProblemsConfig) -> None:
    default = ProblemsConfig()
    for name in ("split", "revision"):
        if getattr(config, name) != getattr(default, name):
            raise ConfigError(
                f"problems.{name} is {getattr(config, name)!r}, and {config.source!r} is no hub source; remove it, or "
                f"give one of {', '.join(HUB_SETS)}"
            )


def _filtered(problems: list[Problem], config: ProblemsConfig) -> list[Problem]:
    """Those whose worked solution has the steps and operators asked for. What can't be read is left out, and said."""
    settings = [name for name in ("min_steps", "max_steps", "operators") if getattr(config, name)]
    if not settings:
        return problems
    asked = ", ".join(f"problems.{name}" for name in settings)
    if not any(problem.solution for problem in problems):
        raise ConfigError(f"{config.source!r} has no worked solutions, which {asked} would look at; remove the filter")
    kept, unread = [], 0
    for problem in problems:
        try:
            operators = used_operators(problem.equations) if config.operators else frozenset()
        except DataError:
            operators = None
        if operators is None or not problem.equations:
            unread += 1
        elif _fits(len(problem.equations), operators, config):
            kept.append(problem)
    if unread:
        logger.info(
            "%s: %d of %d problems are left out by %s, since the equations of their solutions can't be read",
            config.source, unread, len(problems), asked,
        )  # fmt: skip
    if not kept:
        raise ConfigError(f"{asked}: none of the {len(problems)} problems of {config.source!r} fits; loosen the filter")
    return kept


def _fits(steps: int, operators: frozenset[str], config: ProblemsConfig) -> bool:
    return (
        (config.min_steps is None or steps >= config.min_steps)
        and (config.max_steps is None or steps <= config.max_steps)
        and (not config.operators or (bool(operators) and operators <= set(config.operators)))
    )


def _in_order(problems: list[Problem], seed: int | None) -> list[Problem]:
    """Their own order, or a random one that depends on seed and ids alone: not on the machine, the file's order, or
    which other problems there are."""
    if seed is None:
        return problems
    return sorted(problems, key=lambda problem: hashlib.sha256(f"{seed} {problem.id}".encode()).digest())
