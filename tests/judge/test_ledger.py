"""Money: reserved before sending, never more than the limit, and counted on after a crash."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.judge.conftest import CALL_USD, PRICES, Office, asked, many
from tests.judge_server import USAGE, Action, fail, raw, text

from cotlens.config import LabelConfig
from cotlens.errors import ConfigError, InputError, JudgeStoppedError
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.prices import list_price
from cotlens.judge.registry import check_judge, judge_price, kept_servers, make_judge

MakeOffice = Callable[..., Office]


@pytest.mark.parametrize("budget", [0.02, 0.05, 0.1])
def test_the_spend_never_exceeds_the_budget_at_any_concurrency(budget: float, make_office: MakeOffice) -> None:
    office = make_office(max_cost_usd=budget)
    with pytest.raises(JudgeStoppedError, match="budget"):
        office.answer(many(200), concurrency=16)
    spent = len(office.server.requests) * CALL_USD
    assert spent <= budget
    assert office.ledger().cost_usd == pytest.approx(spent)
    stored = [json.loads(line) for line in (office.folder / "judgements.jsonl").read_text().splitlines()]
    assert len(stored) == len(office.server.requests), "what was paid for is stored"


def test_a_budget_is_of_the_run_and_not_of_the_try(make_office: MakeOffice) -> None:
    office = make_office(max_cost_usd=0.03)
    for _ in range(3):
        with pytest.raises(JudgeStoppedError):
            office.answer(many(200), concurrency=16)
    assert len(office.server.requests) * CALL_USD <= 0.03
    office.settings["max_cost_usd"] = 1.0
    assert {record["status"] for record in office.answer(many(60), concurrency=16)} == {"ok"}
    assert len(office.server.requests) == 60, "nothing was asked twice"


def test_the_number_of_calls_is_limited_retries_included(make_office: MakeOffice, waits: list[float]) -> None:
    office = make_office(max_calls=5)
    office.server.script = [fail(500), fail(500)]
    with pytest.raises(JudgeStoppedError, match="limit of 5 calls"):
        office.answer(many(30), concurrency=16)
    assert len(office.server.requests) == 5


def test_a_reply_without_usage_counts_at_the_most_it_can_cost(office: Office) -> None:
    office.server.rule = text(lambda r: json.dumps(
        {"id": r.id, "verdict": "yes", "reason": "", "confidence": 1}), usage=None)  # fmt: skip
    [record] = office.answer([asked(" plus")])
    assert record["cost_usd"] > 2 * CALL_USD


def no_choices(usage: dict[str, int] | None) -> Action:
    return raw(200, json.dumps({"id": "c", "choices": []} | ({"usage": usage} if usage else {})), "application/json")


@pytest.mark.parametrize("odd", [[], {"parts": 1}, 7], ids=str)
def test_a_success_without_a_reply_is_booked_at_its_usage(
    odd: object, make_office: MakeOffice, waits: list[float]
) -> None:
    office = make_office(max_attempts=3)
    message = {"choices": [{"message": {"content": odd}}] if odd else [], "usage": USAGE}
    office.server.rule = raw(200, json.dumps(message), "application/json")
    [record] = office.answer([asked(" plus")])
    assert (record["status"], record["calls"], record["tokens"]) == ("failed", 3, 3 * 440)
    assert record["cost_usd"] == office.ledger().cost_usd == pytest.approx(3 * CALL_USD)


@pytest.mark.parametrize("usage", [USAGE, None, {"prompt_tokens": -1, "completion_tokens": "x"}], ids=str)
def test_replies_that_are_none_stay_within_the_budget_too(
    usage: dict[str, int] | None, make_office: MakeOffice, waits: list[float]
) -> None:
    office = make_office(max_cost_usd=0.03)
    office.server.rule = no_choices(usage)
    with pytest.raises(JudgeStoppedError):
        office.answer(many(30), concurrency=16)
    assert 0 < len(office.server.requests) * CALL_USD <= office.ledger().cost_usd + 1e-9 <= 0.03


@pytest.mark.parametrize(
    ("action", "booked"),
    [
        (raw(200, "<html>Please log in</html>"), True),
        (fail(504), True),
        (fail(408), True),
        (fail(400, "x", code="content_filter"), True),
        (fail(500), False),
        (fail(503), False),
        (fail(429), False),
    ],
)
def test_what_may_have_been_charged_for_is_booked_in_full(
    action: Action, booked: bool, make_office: MakeOffice, waits: list[float]
) -> None:
    office = make_office(max_attempts=1)
    office.server.rule = action
    office.answer([asked(" plus")])
    assert (office.ledger().cost_usd > CALL_USD) is booked


def test_calls_that_were_under_way_in_a_crash_count_in_full(tmp_path: Path) -> None:
    path, stop = tmp_path / "calls.jsonl", Stop()
    before = Ledger(path)
    before.settle(before.enter("j", 0.5, stop), 0.1, 100)
    before.enter("j", 0.5, stop)
    before.close()
    after = Ledger(path, max_cost_usd=1.0)
    assert (after.calls, after.cost_usd, after.tokens) == (2, pytest.approx(0.6), 100)
    after.enter("j", 0.4, stop)
    with pytest.raises(JudgeStoppedError, match="budget"):
        Ledger(path, max_cost_usd=1.0).enter("j", 0.1, stop)
    after.close()


def test_a_call_waits_for_money_that_others_may_not_need() -> None:
    ledger, stop = Ledger(max_cost_usd=1.0), Stop()
    first = ledger.enter("j", 0.9, stop)
    threading.Timer(0.05, ledger.settle, (first, 0.1)).start()
    ledger.enter("j", 0.9, stop)
    assert ledger.calls == 2


def test_a_budget_needs_a_price() -> None:
    unknown = LabelConfig(judge="openai/some-model", max_cost_usd=1)
    with pytest.raises(ConfigError, match=r"price of openai/some-model is not known.*--price-in"):
        check_judge("openai/some-model", unknown)
    elsewhere = LabelConfig(judge="openai/gpt-4o", base_url="http://localhost:1/v1", max_cost_usd=1)
    with pytest.raises(ConfigError, match="not known"):
        check_judge("openai/gpt-4o", elsewhere)
    check_judge("openai/some-model", LabelConfig(judge="openai/some-model", max_cost_usd=1, **PRICES))
    with pytest.raises(ValueError, match="both tokens in and tokens out"):
        LabelConfig(price_in_usd=1.0)


def test_the_list_knows_models_by_their_releases_too() -> None:
    assert list_price("openai/gpt-4o-2024-08-06") == list_price("openai/gpt-4o") == (2.5, 10.0)
    assert list_price("anthropic/claude-haiku-4-5-20251001") == (1.0, 5.0)
    assert list_price("openai/nothing") is None
    assert judge_price("lexicon", LabelConfig()) is None
    assert list_price("openai/gpt-4o").of(1_000_000, 100_000) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("opnai/gpt-4o", "judge 'opnai/gpt-4o' is not known; did you mean 'openai'"),
        ("openai", "write openai/MODEL"),
        ("openai/", "write openai/MODEL"),
        ("lexicon/x", "write lexicon"),
        ("azure/x", "--judge-base-url or AZURE_OPENAI_ENDPOINT"),
    ],
)
def test_a_wrong_name_is_an_error_of_one_line(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_judge(name, LabelConfig())


def test_azure_needs_a_version() -> None:
    settings = LabelConfig(base_url="https://x.openai.azure.com")
    with pytest.raises(InputError, match="--judge-api-version"):
        check_judge("azure/x", settings)


REMOTE = {"judge": "openai/a", "second_judges": ["anthropic/b"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge": "openai/lo", "base_url": {"openai/l": "http://h/v1"}}, "'openai/l' is no.*you mean 'openai/lo'"),
        ({"base_url": {"openai/a": "http://h/v1"}}, "'openai/a' is no judge of this run; none of them asks a server"),
        ({"base_url": {"lexicon": "http://h/v1"}}, "'lexicon' is no judge of this run"),
        (REMOTE | {"base_url": "http://h/v1"}, r"one URL for judges of several providers \(openai/a, anthropic/b\)"),
    ],
)  # fmt: skip
def test_a_url_goes_to_the_judge_that_it_is_meant_for(settings: dict[str, object], message: str) -> None:
    config = LabelConfig.model_validate(settings)
    with pytest.raises(ConfigError, match=message):
        check_judge(config.judge, config)


def test_judges_of_one_provider_may_share_a_server() -> None:
    shared = LabelConfig(judge="openai/a", second_judges=("openai/b", "lexicon"), base_url="http://h/v1")
    check_judge("openai/a", shared)
    check_judge(
        "openai/a", LabelConfig(judge="openai/a", second_judges=("anthropic/b",), base_url={"openai/a": "http://h"})
    )


def test_one_key_does_not_go_to_several_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cotlens.judge.access._given", {"key": "sk-given"})
    check_judge("openai/a", LabelConfig(judge="openai/a", second_judges=("openai/b", "lexicon")), with_key=True)
    for apart in (
        REMOTE,
        {"judge": "openai/a", "second_judges": ["openai/b"], "base_url": {"openai/b": "http://h/v1"}},
    ):
        with pytest.raises(ConfigError, match=r"one key for judges at several servers \(.*; set OPENAI_API_KEY"):
            check_judge("openai/a", LabelConfig.model_validate(apart))


@pytest.mark.parametrize(
    "key", ["sk-cl\u00e9-7Qv2MxP9rT4", "sk two words", "sk-\x07bell-MxP9rT4", "sk-line\nbreak-rT4wZ"]
)
@pytest.mark.parametrize("url", [None, "http://localhost:11434/v1"])
def test_what_can_be_no_key_is_said_in_one_line(key: str, url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    settings = LabelConfig(judge="openai/a", base_url=url)
    with pytest.raises(JudgeStoppedError, match="OPENAI_API_KEY holds characters that no key has") as caught:
        check_judge("openai/a", settings, with_key=True)
    assert key[3:] not in str(caught.value)
    monkeypatch.setattr("cotlens.judge.access._given", {"key": key})
    with pytest.raises(JudgeStoppedError, match="--judge-api-key holds characters"):
        make_judge("openai/a", settings)


def test_a_key_may_end_in_a_line_break(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-a-file-7Qv2MxP9\n")
    assert office.answer([asked(" plus")])[0]["verdict"] is True
    assert office.server.requests[0].headers["authorization"] == "Bearer sk-from-a-file-7Qv2MxP9"


@pytest.mark.parametrize(
    ("base_url", "judges", "kept"),
    [
        ("http://h/v1", ["openai/c"], "http://h/v1"),
        ("http://h/v1", ["anthropic/b"], None),
        ("http://h/v1", ["lexicon"], None),
        ({"openai/a": "http://h/v1"}, ["openai/a", "anthropic/b"], {"openai/a": "http://h/v1"}),
        ({"openai/a": "http://h/v1"}, ["openai/b"], None),
    ],
)
def test_a_server_is_given_up_with_its_judge(base_url: object, judges: list[str], kept: object) -> None:
    assert kept_servers(LabelConfig.model_validate({"judge": "openai/a", "base_url": base_url}), judges) == kept


def test_a_key_that_is_missing_is_said_before_anything_is_asked() -> None:
    with pytest.raises(JudgeStoppedError, match="export OPENAI_API_KEY="):
        check_judge("openai/gpt-4o", LabelConfig(), with_key=True)
    check_judge("openai/llama", LabelConfig(base_url="http://localhost:11434/v1"), with_key=True)
