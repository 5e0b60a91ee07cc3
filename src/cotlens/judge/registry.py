"""Judges by name: what is wrong with a name or its settings, and the judge itself."""

from __future__ import annotations

from collections.abc import Sequence

from cotlens.config import LabelConfig
from cotlens.errors import ConfigError, InputError, near_match
from cotlens.judge.access import given_key
from cotlens.judge.kinds import JUDGES, JudgeKind, LocalJudge, Means, judge_key, judge_price, kind_of, server_url
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.prompt import check_version
from cotlens.judge.protocol import Judge

__all__ = [
    "JUDGES",
    "JudgeKind",
    "LocalJudge",
    "Means",
    "check_judge",
    "judge_inputs",
    "judge_price",
    "kept_servers",
    "make_judge",
]


def check_judge(name: str, settings: LabelConfig | None = None, with_key: bool = False) -> JudgeKind:
    """The kind of judge that ``name`` names.

    Raises:
        InputError: no judge has that name, or a setting that it needs is missing.
        JudgeStoppedError: with ``with_key``, its key is not set, or can't be one.
    """
    kind = kind_of(name)
    if ("/" in kind.form) != bool(name.partition("/")[2]):
        raise InputError(f"judge {name!r}: write {kind.form}")
    if settings is not None:
        _check_settings(name, kind, settings)
        _check_servers(settings)
    if with_key and kind.key:
        judge_key(name, settings or LabelConfig())
    return kind


def make_judge(name: str, settings: LabelConfig | None = None, means: Means | None = None) -> Judge:
    """The judge called ``name``.

    Raises:
        InputError: no judge has that name, or a setting is missing.
        JudgeStoppedError: its key is not set.
    """
    settings = settings or LabelConfig()
    means = means or Means(Ledger(), Stop())
    kind = check_judge(name, settings)
    return kind.make(name, settings, means)


def judge_inputs(settings: LabelConfig) -> list[str]:
    """For each judge, a hash of the files that its replies depend on; models are not among them."""
    return [kind_of(name).inputs(name) for name in settings.judges]


def kept_servers(settings: LabelConfig, judges: Sequence[str]) -> str | dict[str, str] | None:
    """What stays of ``settings.base_url`` when ``judges`` take the place of others: servers that some of them name."""
    given = settings.base_url
    if isinstance(given, dict):
        return {name: url for name, url in given.items() if name in judges} or None
    return given if _providers(_remote_among(judges)) == _providers(_remote_among(settings.judges)) else None


def _check_settings(name: str, kind: JudgeKind, settings: LabelConfig) -> None:
    check_version(settings.prompt_version)
    if settings.mode == "open" and "naming" not in kind.forms:
        raise ConfigError(f"judge {name} answers yes or no, and can't name concepts; leave out --open")
    if settings.detection and not any("detection" in kind_of(judge).forms for judge in settings.judges):
        raise ConfigError(f"judge {name} can't read texts; leave out label.detection, or take another judge")
    if kind.remote and settings.max_cost_usd is not None and judge_price(name, settings) is None:
        raise ConfigError(
            f"the price of {name} is not known, so --max-cost-usd can't be kept; state it in US dollars per million "
            "tokens with --price-in and --price-out, or limit --max-calls instead"
        )
    kind.check(name, settings)


def _check_servers(settings: LabelConfig) -> None:
    """One URL, and one key that was given, must not reach judges that they are not meant for."""
    given, remote = settings.base_url, _remote_among(settings.judges)
    if isinstance(given, dict) and (strange := [name for name in given if name not in remote]):
        known = near_match(strange[0], remote) if remote else "; none of them asks a server"
        raise ConfigError(f"--judge-base-url (label.base_url): {strange[0]!r} is no judge of this run{known}")
    if isinstance(given, str) and len(_providers(remote)) > 1:
        raise ConfigError(
            f"--judge-base-url (label.base_url): one URL for judges of several providers ({', '.join(remote)}); write "
            "JUDGE=URL for each that has a server of its own"
        )
    if given_key() and len({(name.partition("/")[0], server_url(name, settings)) for name in remote}) > 1:
        variables = dict.fromkeys(kind_of(name).key for name in remote)
        raise ConfigError(
            f"--judge-api-key: one key for judges at several servers ({', '.join(remote)}); set {', '.join(variables)} "
            "instead"
        )


def _remote_among(judges: Sequence[str]) -> list[str]:
    return [name for name in judges if kind_of(name).remote]


def _providers(judges: Sequence[str]) -> set[str]:
    return {name.partition("/")[0] for name in judges}
