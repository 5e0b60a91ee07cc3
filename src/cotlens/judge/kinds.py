"""Ways to judge. A new one is a class that answers questions, and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cotlens.config import LabelConfig
from cotlens.errors import ConfigError, InputError, near_match
from cotlens.files import content_hash, read_text
from cotlens.judge.access import api_version, base_url, find_key, optional_key
from cotlens.judge.calls import Calls, Limits
from cotlens.judge.chat import Options, Provider
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.lexicon import LexiconJudge
from cotlens.judge.mock import MockJudge
from cotlens.judge.prices import Price, list_price
from cotlens.judge.protocol import Form, Judge
from cotlens.judge.remote import RemoteJudge

__all__ = ["JUDGES", "JudgeKind", "LocalJudge", "Means", "judge_key", "judge_price", "kind_of", "server_url"]

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
    """A way to judge. ``form`` is how it is named, ``what`` says what it is, ``forms`` what it can be asked.

    ``remote``: its questions go to a server, and may cost money. ``key`` and ``url`` are the environment variables with
    its key and its server's URL; with ``open_servers`` a server of one's own needs no key. ``check`` raises an
    `InputError` for settings that it can't work with; ``inputs`` gives a hash of the files that its replies depend on.
    """

    form: str
    what: str
    make: Callable[[str, LabelConfig, Means], Judge]
    forms: frozenset[Form] = frozenset({"concept", "detection", "naming", "merge"})
    remote: bool = False
    key: str = ""
    url: str = ""
    open_servers: bool = True
    check: Callable[[str, LabelConfig], None] = lambda name, settings: None
    inputs: Callable[[str], str] = lambda name: ""


def kind_of(name: str) -> JudgeKind:
    """The kind of the judge ``name``.

    Raises:
        InputError: there is none.
    """
    provider = name.partition("/")[0]
    if provider not in JUDGES:
        raise InputError(f"judge {name!r} is not known{near_match(provider, JUDGES)}; see: cotlens concepts --judges")
    return JUDGES[provider]


def server_url(name: str, settings: LabelConfig) -> str | None:
    """The URL of a judge's server, if it is one of the user's own."""
    return base_url(name, settings, kind_of(name).url)


def judge_key(name: str, settings: LabelConfig) -> str:
    """The key for a judge's server.

    Raises:
        JudgeStoppedError: it is not set, or can't be one.
    """
    kind = kind_of(name)
    if kind.open_servers and server_url(name, settings) is not None:
        return optional_key(kind.key)
    return find_key(name, kind.key)


def judge_price(name: str, settings: LabelConfig) -> Price | None:
    """What tokens cost at a judge: as stated, else the list price; None where neither is there, or no server is asked.

    The list is not asked about a model behind a URL of one's own.
    """
    if not kind_of(name).remote:
        return None
    if settings.price_in_usd is not None and settings.price_out_usd is not None:
        return Price(settings.price_in_usd, settings.price_out_usd)
    return None if server_url(name, settings) else list_price(name)


def _remote(name: str, settings: LabelConfig, means: Means, provider: Provider, server: str | None) -> Judge:
    calls = Calls(
        name, means.ledger, judge_price(name, settings), Limits(settings.max_attempts, settings.max_wait_s),
        means.stop, key_hint=f"; set {kind_of(name).key} to a valid key",
    )  # fmt: skip
    return RemoteJudge(
        name, provider, calls, server or "", settings.prompt_version, settings.temperature, settings.max_reply_tokens
    )


def _key(name: str, settings: LabelConfig, means: Means) -> str:
    return judge_key(name, settings) if means.with_key else "no-key"


def _model(name: str) -> str:
    return name.partition("/")[2]


def _openai(name: str, settings: LabelConfig, means: Means) -> Judge:
    from cotlens.judge.providers.openai_api import OpenAIProvider, openai_client

    url = server_url(name, settings)
    client = openai_client(_key(name, settings, means), url, settings.timeout_s)
    # OpenAI's newer models take only the newer name, most other servers only the older.
    options = Options(limit="max_tokens" if url else "max_completion_tokens")
    provider = OpenAIProvider(client, _model(name), options, settings.deadline_s)
    return _remote(name, settings, means, provider, url)


def _azure(name: str, settings: LabelConfig, means: Means) -> Judge:
    from cotlens.judge.providers.openai_api import OpenAIProvider, azure_client

    endpoint, version = server_url(name, settings) or "", api_version(settings) or ""
    client = azure_client(_key(name, settings, means), endpoint, version, settings.timeout_s)
    provider = OpenAIProvider(client, _model(name), Options(), settings.deadline_s)
    return _remote(name, settings, means, provider, f"{endpoint} {version}")


def _check_azure(name: str, settings: LabelConfig) -> None:
    if not server_url(name, settings):
        raise ConfigError(f"judge {name}: give the endpoint with --judge-base-url or AZURE_OPENAI_ENDPOINT")
    if not api_version(settings):
        raise ConfigError(f"judge {name}: give --judge-api-version, such as 2024-10-21, or set OPENAI_API_VERSION")


def _anthropic(name: str, settings: LabelConfig, means: Means) -> Judge:
    from cotlens.judge.providers.anthropic_api import AnthropicProvider, anthropic_client

    url = server_url(name, settings)
    client = anthropic_client(_key(name, settings, means), url, settings.timeout_s)
    provider = AnthropicProvider(client, _model(name), settings.deadline_s)
    return _remote(name, settings, means, provider, url)


def _hf(name: str, settings: LabelConfig, means: Means) -> Judge:
    if means.local is None:
        raise InputError(f"judge {name}: a local model judges within a run only")
    return means.local(_model(name), settings)


def _mock(name: str, settings: LabelConfig) -> Judge:
    return MockJudge(_model(name), settings.prompt_version)


def _check_mock(name: str, settings: LabelConfig) -> None:
    _mock(name, settings)


JUDGES: dict[str, JudgeKind] = {
    "lexicon": JudgeKind(
        "lexicon", "word lists, offline", lambda name, settings, means: LexiconJudge(), forms=LexiconJudge.forms
    ),
    "openai": JudgeKind(
        "openai/MODEL", "OpenAI, or any server that speaks its protocol (--judge-base-url)", _openai,
        remote=True, key="OPENAI_API_KEY", url="OPENAI_BASE_URL",
    ),
    "azure": JudgeKind(
        "azure/DEPLOYMENT", "OpenAI's models at Azure", _azure,
        remote=True, key="AZURE_OPENAI_API_KEY", url="AZURE_OPENAI_ENDPOINT", open_servers=False, check=_check_azure,
    ),
    "anthropic": JudgeKind(
        "anthropic/MODEL", "Anthropic", _anthropic, remote=True, key="ANTHROPIC_API_KEY", url="ANTHROPIC_BASE_URL"
    ),
    "hf": JudgeKind(
        "hf/MODEL", "a model on this machine, by the probabilities of yes and no", _hf,
        forms=frozenset({"concept", "detection"}),
    ),
    "mock": JudgeKind(
        "mock/FILE", "replies from a file", lambda name, settings, means: _mock(name, settings), check=_check_mock,
        inputs=lambda name: content_hash(read_text(Path(_model(name)).expanduser())),
    ),
}  # fmt: skip
