"""Judges by name. A new one is a class that answers questions, and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cotlens.config import LabelConfig
from cotlens.errors import ConfigError, InputError, near_match
from cotlens.judge.access import api_version, base_url, find_key, needs_no_key, optional_key
from cotlens.judge.calls import Calls, Limits
from cotlens.judge.chat import Options, Provider
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.lexicon import LexiconJudge
from cotlens.judge.mock import MockJudge
from cotlens.judge.prices import Price, list_price
from cotlens.judge.prompt import check_version
from cotlens.judge.protocol import Form, Judge
from cotlens.judge.remote import RemoteJudge

__all__ = ["JUDGES", "JudgeKind", "Means", "check_judge", "judge_price", "make_judge"]

LocalJudge = Callable[[str, LabelConfig], Judge]


@dataclass(frozen=True)
class Means:
    """What a judge works with. ``local`` makes the judge that is a model on this machine.

    ``with_key=False`` makes judges that know what they would ask, without a key to ask it.
    """

    ledger: Ledger
    stop: Stop
    local: LocalJudge | None = None
    with_key: bool = True


@dataclass(frozen=True)
class JudgeKind:
    """A way to judge. ``form`` is how it is named, ``what`` says what it is, ``key`` is where its key is looked for,
    ``forms`` what it can be asked."""

    form: str
    what: str
    make: Callable[[str, LabelConfig, Means], Judge]
    key: str = ""
    forms: frozenset[Form] = frozenset({"concept", "detection", "naming", "merge"})


def check_judge(name: str, settings: LabelConfig | None = None, with_key: bool = False) -> JudgeKind:
    """The kind of judge that ``name`` names.

    Raises:
        InputError: no judge has that name, or a setting that it needs is missing.
        JudgeStoppedError: with ``with_key``, its key is not set.
    """
    provider, _, rest = name.partition("/")
    kind = JUDGES.get(provider)
    if kind is None:
        raise InputError(f"judge {name!r} is not known{near_match(provider, JUDGES)}; see: cotlens concepts --judges")
    if ("/" in kind.form) != bool(rest):
        raise InputError(f"judge {name!r}: write {kind.form}")
    if settings is not None:
        _check_settings(name, provider, settings)
    if with_key and kind.key and not needs_no_key(name, settings or LabelConfig()):
        find_key(name, kind.key)
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


def judge_price(name: str, settings: LabelConfig) -> Price | None:
    """What tokens cost at a judge: as stated, else the list price; None where neither is there, or no server is asked.

    The list is not asked about a model behind a URL of one's own.
    """
    if not JUDGES[name.partition("/")[0]].key:
        return None
    if settings.price_in_usd is not None and settings.price_out_usd is not None:
        return Price(settings.price_in_usd, settings.price_out_usd)
    return None if base_url(name, settings) else list_price(name)


def _check_settings(name: str, provider: str, settings: LabelConfig) -> None:
    check_version(settings.prompt_version)
    forms = JUDGES[provider].forms
    if settings.mode == "open" and "naming" not in forms:
        raise ConfigError(f"judge {name} answers yes or no, and can't name concepts; leave out --open")
    if settings.detection and "detection" not in forms:
        raise ConfigError(f"judge {name} can't read texts; leave out label.detection, or take another judge")
    if provider == "mock":
        MockJudge(name.partition("/")[2], settings.prompt_version)
    if JUDGES[provider].key and settings.max_cost_usd is not None and judge_price(name, settings) is None:
        raise ConfigError(
            f"the price of {name} is not known, so --max-cost-usd can't be kept; state it in US dollars per million "
            "tokens with --price-in and --price-out, or limit --max-calls instead"
        )
    if provider == "azure":
        if not base_url(name, settings):
            raise ConfigError(f"judge {name}: give the endpoint with --judge-base-url or AZURE_OPENAI_ENDPOINT")
        if not api_version(settings):
            raise ConfigError(f"judge {name}: give --judge-api-version, such as 2024-10-21, or set OPENAI_API_VERSION")


def _remote(name: str, settings: LabelConfig, means: Means, provider: Provider) -> Judge:
    kind = JUDGES[name.partition("/")[0]]
    calls = Calls(
        name, means.ledger, judge_price(name, settings), Limits(settings.max_attempts, settings.max_wait_s),
        means.stop, key_hint=f"; set {kind.key} to a valid key",
    )  # fmt: skip
    server = f"{base_url(name, settings) or ''} {api_version(settings) if name.startswith('azure/') else ''}".strip()
    return RemoteJudge(
        name, provider, calls, server, settings.prompt_version, settings.temperature, settings.max_reply_tokens
    )


def _key(name: str, settings: LabelConfig, means: Means) -> str:
    variable = JUDGES[name.partition("/")[0]].key
    if not means.with_key or needs_no_key(name, settings):
        return optional_key(variable)
    return find_key(name, variable)


def _openai(name: str, settings: LabelConfig, means: Means) -> Judge:
    from cotlens.judge.providers.openai_api import OpenAIProvider, openai_client

    url = base_url(name, settings)
    client = openai_client(_key(name, settings, means), url, settings.timeout_s)
    # OpenAI's newer models take only the newer name, most other servers only the older.
    options = Options(limit="max_tokens" if url else "max_completion_tokens")
    return _remote(name, settings, means, OpenAIProvider(client, name.partition("/")[2], options))


def _azure(name: str, settings: LabelConfig, means: Means) -> Judge:
    from cotlens.judge.providers.openai_api import OpenAIProvider, azure_client

    endpoint, version = base_url(name, settings) or "", api_version(settings) or ""
    client = azure_client(_key(name, settings, means), endpoint, version, settings.timeout_s)
    return _remote(name, settings, means, OpenAIProvider(client, name.partition("/")[2], Options()))


def _anthropic(name: str, settings: LabelConfig, means: Means) -> Judge:
    from cotlens.judge.providers.anthropic_api import AnthropicProvider, anthropic_client

    key = _key(name, settings, means)
    client = anthropic_client(key, base_url(name, settings), settings.timeout_s)
    return _remote(name, settings, means, AnthropicProvider(client, name.partition("/")[2]))


def _hf(name: str, settings: LabelConfig, means: Means) -> Judge:
    if means.local is None:
        raise InputError(f"judge {name}: a local model judges within a run only")
    return means.local(name.partition("/")[2], settings)


JUDGES: dict[str, JudgeKind] = {
    "lexicon": JudgeKind(
        "lexicon", "word lists, offline", lambda name, settings, means: LexiconJudge(), forms=LexiconJudge.forms
    ),
    "openai": JudgeKind(
        "openai/MODEL", "OpenAI, or any server that speaks its protocol (--judge-base-url)", _openai, "OPENAI_API_KEY"
    ),
    "azure": JudgeKind("azure/DEPLOYMENT", "OpenAI's models at Azure", _azure, "AZURE_OPENAI_API_KEY"),
    "anthropic": JudgeKind("anthropic/MODEL", "Anthropic", _anthropic, "ANTHROPIC_API_KEY"),
    "hf": JudgeKind(
        "hf/MODEL",
        "a model on this machine, by the probabilities of yes and no",
        _hf,
        forms=frozenset({"concept", "detection"}),
    ),
    "mock": JudgeKind(
        "mock/FILE",
        "replies from a file",
        lambda name, settings, means: MockJudge(name.partition("/")[2], settings.prompt_version),
    ),
}
