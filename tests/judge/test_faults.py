"""What a server can do wrong, and what the user gets: every fault over a real socket with the real client."""

import json
import logging
import time
from collections.abc import Callable

import pytest
from tests.judge.conftest import CALL_USD, Office, asked, many
from tests.judge_server import Action, JudgeServer, drip, fail, raw, reset, say, stall, text

from cotlens.errors import InputError, JudgeStoppedError
from cotlens.judge.faults import BusyFault, DeniedFault, Fault, fault_of_body, fault_of_status

MakeOffice = Callable[..., Office]

TRANSIENT = {
    "429": fail(429, "slow down", {"Retry-After": "7"}),
    "500": fail(500),
    "503": fail(503),
    "reset": reset,
    "html-502": raw(502, "<html><h1>Bad Gateway</h1></html>"),
    "html-200": raw(200, "<html>Please log in to the hotel's network</html>"),
    "error-200": raw(200, json.dumps({"error": {"message": "model is loading"}}), "application/json"),
    "empty-200": raw(200, "", "application/json"),
    "no-choices": raw(200, json.dumps({"choices": []}), "application/json"),
    "null-body": raw(200, "null", "application/json"),
}


@pytest.mark.parametrize("action", TRANSIENT.values(), ids=TRANSIENT)
def test_a_passing_fault_is_waited_out_and_labels_are_the_same(
    action: Action, office: Office, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    office.server.script = [action, action]
    with caplog.at_level(logging.WARNING):
        [record] = office.answer([asked(" plus")])
    assert (record["status"], record["verdict"], record["calls"]) == ("ok", True, 3)
    assert len(office.server.requests) == 3
    assert "waiting" in caplog.text
    assert "attempt 2 of 6" in caplog.text
    assert sum(waits) < 20


def test_a_stalled_body_is_given_up_and_asked_again(make_office: MakeOffice, waits: list[float]) -> None:
    office = make_office(timeout_s=0.2)
    office.server.script = [stall(0.6)]
    [record] = office.answer([asked(" plus")])
    assert (record["verdict"], record["calls"]) == (True, 2)
    assert record["cost_usd"] > CALL_USD, "what may have been charged for counts"


@pytest.mark.parametrize("head", [True, False])
def test_a_reply_that_trickles_in_is_broken_off(head: bool, make_office: MakeOffice, waits: list[float]) -> None:
    office = make_office(timeout_s=5.0, deadline_s=1.0)
    office.server.script = [drip(8.0, head=head)]
    started = time.monotonic()
    [record] = office.answer([asked(" plus")])
    assert time.monotonic() - started < 6
    assert (record["verdict"], record["calls"]) == (True, 2)
    assert record["cost_usd"] > CALL_USD, "what may have been charged for counts"


def test_retry_after_is_honoured(office: Office, waits: list[float]) -> None:
    office.server.script = [fail(429, headers={"Retry-After": "41"}), fail(429, headers={"retry-after-ms": "90000"})]
    office.answer([asked(" plus")])
    assert 41 + 90 <= sum(waits) < 41 + 90 + 5


def test_a_wait_that_is_too_long_stops_the_run(office: Office, waits: list[float]) -> None:
    office.server.rule = fail(429, headers={"Retry-After": "3600"})
    with pytest.raises(JudgeStoppedError, match=r"wait 3600 s.*go on later"):
        office.answer([asked(" plus")])


def test_attempts_are_bounded_and_the_question_counts_as_failed(make_office: MakeOffice, waits: list[float]) -> None:
    office = make_office(max_attempts=3)
    office.server.rule = lambda request: (fail(500) if "word1" in request.prompt else say())(request)
    records = office.answer(many(4), concurrency=1)
    assert [record["status"] for record in records] == ["ok", "failed", "ok", "ok"]
    assert records[1]["verdict"] is None
    assert len(office.server.requests) == 3 + 3
    office.server.rule = say()
    assert [record["status"] for record in office.answer(many(4))] == ["ok"] * 4
    assert len(office.server.requests) == 3 + 3 + 1, "only what failed is asked again"


def test_a_server_that_is_away_stops_the_run(make_office: MakeOffice, waits: list[float]) -> None:
    office = make_office(max_attempts=2)
    office.server.rule = fail(503, "down for repairs")
    with pytest.raises(JudgeStoppedError, match="can't be reached: 503: down for repairs"):
        office.answer(many(20), concurrency=1)
    assert len(office.server.requests) == 8


RATE_LIMIT = (
    "Rate limit reached for gpt-4o in organization org-abc on requests per min (RPM): Limit 3, Used 3, Requested 1. "
    "Please try again in 20s. You can increase your rate limit by adding a payment method to your account at "
    "https://platform.openai.com/account/billing."
)
PLAN = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "error", "headers", "kind"),
    [
        (429, {"message": RATE_LIMIT, "type": "requests", "code": "rate_limit_exceeded"}, {}, BusyFault),
        (429, {"message": RATE_LIMIT, "type": "tokens", "code": None}, {}, BusyFault),
        (429, {"message": PLAN, "code": 429, "status": "RESOURCE_EXHAUSTED"}, {}, BusyFault),
        (429, {"message": RATE_LIMIT}, {"retry-after": "20"}, BusyFault),
        (429, {"message": "slow down"}, {}, BusyFault),
        (429, {"type": "rate_limit_error", "message": "see your billing page"}, {}, BusyFault),
        (429, {"message": PLAN, "code": "insufficient_quota"}, {"retry-after": "20"}, DeniedFault),
        (429, {"message": PLAN, "type": "insufficient_quota", "code": None}, {}, DeniedFault),
        (429, {"message": PLAN}, {}, DeniedFault),
        (429, {"message": PLAN, "code": "429"}, {}, DeniedFault),
        (400, {"code": "billing_hard_limit_reached", "type": "invalid_request_error"}, {}, DeniedFault),
        (400, {"message": "Your credit balance is too low", "type": "invalid_request_error"}, {}, DeniedFault),
        (403, {"message": "no"}, {}, DeniedFault),
        (200, {"message": PLAN, "code": "insufficient_quota"}, {}, DeniedFault),
        (200, {"message": RATE_LIMIT, "code": "rate_limit_exceeded"}, {}, BusyFault),
    ],
)  # fmt: skip
def test_what_is_about_money_is_told_by_its_code_first(
    status: int, error: dict[str, object], headers: dict[str, str], kind: type[Fault]
) -> None:
    body = json.dumps({"error": error})
    found = fault_of_body(body) if status == 200 else fault_of_status(status, headers, body)
    assert type(found) is kind


def test_a_rate_limit_that_speaks_of_payment_is_waited_out(office: Office, waits: list[float]) -> None:
    office.server.script = [fail(429, RATE_LIMIT, {"Retry-After": "20"}, type="requests", code="rate_limit_exceeded")]
    [record] = office.answer([asked(" plus")])
    assert (record["verdict"], record["calls"]) == (True, 2)
    assert 20 <= sum(waits) < 30


@pytest.mark.parametrize(
    "action",
    [
        fail(401, "Incorrect API key"),
        fail(403, "no access"),
        fail(402, "payment required"),
        fail(429, "You exceeded your current quota", code="insufficient_quota", type="insufficient_quota"),
        fail(400, "Your credit balance is too low to access the API"),
        raw(200, json.dumps({"error": {"message": "quota", "code": "insufficient_quota"}}), "application/json"),
    ],
)
def test_without_credentials_or_quota_nothing_is_tried_again(action: Action, office: Office) -> None:
    office.server.rule = action
    with pytest.raises(JudgeStoppedError, match="OPENAI_API_KEY"):
        office.answer([asked(" plus")])
    assert len(office.server.requests) == 1
    office.server.rule = say()
    assert office.answer([asked(" plus")])[0]["verdict"] is True


@pytest.mark.parametrize(
    ("action", "adapted", "gone", "present"),
    [
        (
            fail(400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                 "'max_completion_tokens' instead.", param="max_tokens", code="unsupported_parameter"),
            "max_tokens sent as max_completion_tokens", "max_tokens", "max_completion_tokens",
        ),
        (
            fail(400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                 "'max_completion_tokens' instead."),
            "max_tokens sent as max_completion_tokens", "max_tokens", "max_completion_tokens",
        ),
        (
            fail(400, "Use 'max_completion_tokens' in place of 'max_tokens'; temperature may stay"),
            "max_tokens sent as max_completion_tokens", "max_tokens", "max_completion_tokens",
        ),
        (
            fail(400, "'temperature' does not support 0.0 with this model.", param="temperature"),
            "temperature left out", "temperature", "response_format",
        ),
        (
            fail(400, "response_format json_schema is not supported"),
            "response format json_schema replaced by json_object", "nothing", "response_format",
        ),
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_taken_is_adapted_once_and_recorded(
    action: Action, adapted: str, gone: str, present: str, office: Office
) -> None:
    office.server.script = [action]
    records = office.answer(many(3), concurrency=1)
    assert [record["verdict"] for record in records] == [True, False, False]
    assert len(office.server.requests) == 4, "learned once, for all questions"
    for request in office.server.requests[1:]:
        assert gone not in request.body
        assert present in request.body
    assert records[0]["adapted"] == [adapted]


def test_a_parameter_that_can_not_be_adapted_is_an_error_of_one_line(office: Office) -> None:
    office.server.rule = fail(400, "temperature is wrong", param="temperature")
    with pytest.raises(InputError, match=r"judge openai/gpt-4o: 400: temperature is wrong"):
        office.answer([asked(" plus")])
    assert len(office.server.requests) == 2


def test_a_limit_that_is_wrong_under_either_name_is_an_error_of_one_line(office: Office) -> None:
    office.server.rule = fail(400, "max_tokens is too large: 300. This model writes at most 200.")
    with pytest.raises(InputError, match="400: max_tokens is too large"):
        office.answer([asked(" plus")])
    assert len(office.server.requests) == 2


def test_what_a_server_leaves_of_a_key_is_hidden() -> None:
    said = str(
        fault_of_status(401, {}, json.dumps({"error": {"message": "Bad key: sk-proj-a1***********Zz9Q. Again"}}))
    )
    assert said == "401: Bad key: [hidden] Again"


def test_a_model_that_is_not_there_is_an_error_of_one_line(office: Office) -> None:
    office.server.rule = fail(404, "The model `gpt-4oo` does not exist", code="model_not_found")
    with pytest.raises(InputError, match=r"404: The model `gpt-4oo` does not exist; check its name"):
        office.answer([asked(" plus")])


@pytest.mark.parametrize(
    "action",
    [
        text(None),
        text(""),
        text("  \n"),
        text(None, message={"refusal": "I can't help with that."}),
        text("", finish_reason="content_filter"),
        fail(400, "filtered", code="content_filter"),
        fail(400, "x", innererror={"code": "ResponsibleAIPolicyViolation"}),
    ],
)
def test_a_refusal_is_no_verdict_and_is_not_kept_as_an_answer(action: Action, office: Office) -> None:
    office.server.script = [action]
    [record] = office.answer([asked(" plus")], cache=True)
    assert (record["status"], record["verdict"]) == ("refused", None)
    assert len(office.server.requests) == 1
    assert not list((office.folder / "cache").rglob("*.json"))
    assert office.answer([asked(" plus")])[0]["status"] == "refused", "it was paid for: not asked again by itself"
    assert len(office.server.requests) == 1
    assert office.answer([asked(" plus")], ask_again=True)[0]["verdict"] is True


def test_the_server_of_the_anthropic_client_too(make_office: MakeOffice, server: JudgeServer) -> None:
    office = make_office("anthropic/claude-haiku-4-5")
    server.script = [fail(529, "Overloaded"), fail(400, "temperature: Extra inputs are not permitted")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cotlens.judge.calls.Calls._put_off", lambda *_: None)
        [record] = office.answer([asked(" plus")])
    assert (record["verdict"], record["adapted"]) == (True, ["temperature left out"])
    assert (record["input_tokens"], record["output_tokens"]) == (400, 40)
    assert server.requests[-1].body["output_config"]["format"]["type"] == "json_schema"
    server.script = [text("", finish_reason="refusal")]
    assert office.answer([asked(" sum")])[0]["status"] == "refused"
    server.script = [text('{"id"', finish_reason="max_tokens")]
    assert office.answer([asked(" add")])[0]["verdict"] is True


def test_azure_is_asked_at_its_deployment(make_office: MakeOffice, server: JudgeServer) -> None:
    office = make_office("azure/my-deployment", api_version="2024-10-21")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_OPENAI_API_KEY", "azure-key-of-nobody")
        assert office.answer([asked(" plus")])[0]["verdict"] is True
    [request] = server.requests
    assert request.path == "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "azure-key-of-nobody"
