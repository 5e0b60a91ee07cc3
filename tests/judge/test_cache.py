"""One stored reply per identity: shared by all who ask the same, and by nobody else."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.judge.conftest import Office, asked, many, question

from cotlens.judge import Judgement, make_judge
from cotlens.judge.book import Asked
from cotlens.judge.cache import ReplyCache
from cotlens.judge.prompt import render

MakeOffice = Callable[..., Office]


def test_neurons_with_the_same_question_share_a_reply_and_its_cost(office: Office) -> None:
    records = office.answer([asked(" plus", neuron=n) for n in range(5)], concurrency=5)
    assert len(office.server.requests) == 1
    assert [record["neuron"] for record in records] == [f"L3N{n}" for n in range(5)]
    assert [record["source"] for record in records] == ["judge", *["same question"] * 4]
    assert sum(record["tokens"] for record in records) == 440


def test_a_retest_is_asked_anew(office: Office) -> None:
    first = asked(" plus")
    again = Asked(first.question, "retest", first.neuron, tag=1)
    office.answer([first, again])
    assert len(office.server.requests) == 2


def test_another_run_takes_replies_from_the_cache_for_nothing(office: Office) -> None:
    office.answer(many(4), cache=True)
    (office.folder / "judgements.jsonl").unlink()
    records = office.answer(many(4), cache=True)
    assert len(office.server.requests) == 4
    assert {record["source"] for record in records} == {"cache"}
    assert sum(record["cost_usd"] for record in records) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.7},
        {"max_reply_tokens": 301},
        {"base_url": "{url}/v2"},
        {"name": "openai/gpt-4o-mini"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_reply_changes_the_identity(change: dict, office: Office, make_office: MakeOffice) -> None:
    office.answer(many(2), cache=True)
    (office.folder / "judgements.jsonl").unlink()
    change = {key: value.format(url=office.server.url) if key == "base_url" else value for key, value in change.items()}
    make_office(**change).answer(many(2), cache=True)
    assert len(office.server.requests) == 4


def test_the_version_of_the_texts_is_part_of_the_identity(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = office.judge()
    one = judge.identity(question(" plus"))
    monkeypatch.setattr("cotlens.judge.remote.render", lambda asked_of, _: render(asked_of, 1))
    judge._version = 2
    assert judge.identity(question(" plus")) != one
    judge.close()


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": (" plus", " y")},
        {"opposite": (" z",)},
        {"text": "Other?"},
        {"description": "d"},
        {"negatives": ("n",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_a_question_is_part_of_the_identity(change: dict, office: Office) -> None:
    judge = office.judge()
    assert judge.identity(question(" plus", " x")) != judge.identity(replace(question(" plus", " x"), **change))
    judge.close()


def test_a_damaged_or_foreign_file_is_no_reply(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    cache.put("ab12", Judgement("ok", True, "r", "raw", answer=(("a", "b"),)))
    assert cache.get("ab12") == Judgement("ok", True, "r", "raw", answer=(("a", "b"),))
    [file] = tmp_path.rglob("*.json")
    for damage in ("", "{", "[]", json.dumps({"identity": "other"}), file.read_text()[:-3]):
        file.write_text(damage)
        assert cache.get("ab12") is None
    cache.put("cd", Judgement("refused", None, "", ""))
    assert cache.get("cd") is None


def test_a_cache_that_can_not_be_written_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    ReplyCache(blocked).put("ab12", Judgement("ok", True, "r", "raw"))
    assert ReplyCache(blocked).get("ab12") is None


def test_the_cache_may_be_written_by_many_at_once(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: cache.put(f"{n % 4:02}", Judgement("ok", True, "r", "raw")), range(64)))
    assert all(cache.get(f"{n:02}") for n in range(4))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_mock_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        "- {concept: add, token: ' plus', verdict: 'yes', confidence: 0.8}\n- {token: ' odd', reply: 'Not yes'}\n"
        "- {concept: add, verdict: 'no'}\n"
    )
    judge = make_judge(f"mock/{file}")
    assert judge.ask(question(" plus")).verdict is True
    assert judge.ask(question(" x")).verdict is False
    assert judge.ask(question(" odd")).status == "unparsed"
    assert judge.ask(question(" x", concept="logic")).status == "refused"
    file.write_text("- {verdict: perhaps}")
    with pytest.raises(Exception, match=r"rules\.yaml: rule 1\.verdict"):
        make_judge(f"mock/{file}")
