"""The stage ``label`` on a run made by hand: what is asked, what is written, what is known of the judge afterwards."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from tests.judge_server import Request, fail, say, serve_judge, text
from tests.labelled_run import make_projected_run

from cotlens.concepts import label_stage, load_concepts
from cotlens.concepts.estimate import estimate
from cotlens.concepts.stage import planned
from cotlens.errors import InputError, ItemsFailedError, JudgeStoppedError
from cotlens.judge import JUDGES, Judgement, Question
from cotlens.judge.lexicon import LexiconJudge
from cotlens.judge.prompt import render
from cotlens.pipeline import run_pipeline
from cotlens.store import Run, RunWriter, open_run
from cotlens.types import Silent


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COTLENS_CACHE", str(tmp_path / "user-cache"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def mock(folder: Path, *rules: dict[str, object], name: str = "rules") -> str:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(list(rules)))
    return f"mock/{file}"


def label(run: RunWriter) -> Run:
    run.begin("label", "key")
    label_stage(run, Silent())
    return Run(run.path, run.manifest)


def value(run: Run, measure: str, concept: str = "all", judge: str | None = None) -> tuple[int, int, float]:
    rows = run.reliability().filter(measure=measure, concept=concept, judge=judge or run.config.label.judge)
    return rows.select("count", "total", "value").row(0)


def test_controls_are_mixed_in_and_look_like_the_rest(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run")
    questions = planned(run, load_concepts())
    kinds = [asked.kind for asked in questions]
    assert [kinds.count(kind) for kind in ("label", "shuffled", "retest")] == [12, 12, 4]
    passing = {asked.neuron for asked in questions if asked.kind == "label"}
    assert {neuron.neuron for neuron in passing} == {0, 1, 2, 3}
    dealt = {token for asked in questions if asked.kind == "label" for token in asked.question.tokens}
    for asked in questions:
        if asked.kind == "random":
            assert asked.neuron not in passing
            assert (asked.neuron.layer, asked.neuron.sign) in {(neuron.layer, neuron.sign) for neuron in passing}
        if asked.kind == "shuffled":
            assert len(set(asked.question.tokens)) == 10
            assert set(asked.question.tokens) <= dealt
    label(run)
    order = [record["kind"] for record in run.judgements()]
    assert order != sorted(order, key=kinds.index), "the judge can't tell by the place"
    assert {record["concept"] for record in run.judgements()} == {"add", "subtract"}


def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    one, two = (planned(make_projected_run(tmp_path / name), load_concepts()) for name in "ab")
    assert one == two


def test_a_judge_that_says_yes_to_everything_is_found_out(tmp_path: Path) -> None:
    run = label(make_projected_run(tmp_path / "run", judge=mock(tmp_path, {"verdict": "yes"})))
    assert run.concepts().height == 12
    for measure in ("random", "shuffled", "yield", "retest"):
        assert value(run, measure)[2] == 1.0
    assert np.isnan(value(run, "retest_kappa")[2])


def test_the_lexicon_is_measured_too(tmp_path: Path) -> None:
    run = label(make_projected_run(tmp_path / "run"))
    assert run.concepts().rows() == [
        (layer, neuron, 1, concept)
        for layer in (1, 2, 3)
        for neuron, concept in ((0, "add"), (1, "add"), (2, "subtract"), (3, "add"))
    ]
    assert value(run, "random")[0] == 0
    assert value(run, "answered") == (len(run.judgements()), len(run.judgements()), 1.0)
    assert value(run, "yield", "subtract") == (3, 3, 1.0)


def test_two_judges_are_compared_and_the_first_decides(tmp_path: Path) -> None:
    other = mock(tmp_path, {"concept": "add", "verdict": "no"}, {"verdict": "yes"})
    run = label(make_projected_run(tmp_path / "run", judge=other, second_judges=["lexicon"]))
    assert set(run.concepts()["concept"]) == {"subtract"}
    rows = run.reliability().filter(measure="kappa", concept="all").to_dicts()
    assert [(row["judge"], row["other"], row["count"], row["total"]) for row in rows] == [(other, "lexicon", 3, 12)]
    assert rows[0]["value"] == 0.0
    assert value(run, "random", judge="lexicon")[1] == value(run, "random", judge=other)[1]


def test_what_has_no_verdict_is_in_no_denominator(tmp_path: Path) -> None:
    odd = mock(tmp_path, {"concept": "add", "reply": "Not yes"}, {"verdict": "yes"})
    run = label(make_projected_run(tmp_path / "run", judge=odd))
    assert value(run, "yield", "add")[:2] == (0, 0)
    assert value(run, "yield")[:2] == (3, 3)
    assert value(run, "answered")[2] < 1
    assert {record["verdict"] for record in run.judgements() if record["status"] == "unparsed"} == {None}


def test_open_labels_are_named_and_merged(tmp_path: Path) -> None:
    named = [
        {"token": " sum", "name": "The Sums"},
        {"token": " plus", "name": "addition"},
        {"token": " minus", "name": "Subtraction"},
        {"name": "none", "groups": [["addition", "sum"], ["subtraction"]]},
    ]
    settings = {"mode": "open", "open_neurons": 60, "shuffled_controls": 5}
    done = label(make_projected_run(tmp_path / "run", judge=mock(tmp_path, *named), **settings))
    assert set(done.concepts()["concept"]) == {"sum", "subtraction"}, "the most frequent"
    assert value(done, "yield")[:2] == (12, 60)
    named[-1].pop("groups")
    kept = label(make_projected_run(tmp_path / "other", judge=mock(tmp_path, *named, name="alone"), **settings))
    assert set(kept.concepts()["concept"]) == {"sum", "addition", "subtraction"}, "without groups names stay"


def test_names_are_compared_and_not_only_whether_there_is_one(tmp_path: Path) -> None:
    """One judge says sum and the other addition, which are one; about a third they differ; all are asked twice."""
    first = [
        {"token": " sum", "name": "sum"},
        {"token": " minus", "name": "subtraction"},
        {"groups": [["addition", "sum"], ["colour"], ["subtraction"]], "name": "none"},
    ]
    other = [{"token": " sum", "name": "addition"}, {"token": " minus", "name": "colour"}, {"name": "none"}]
    judges = [mock(tmp_path, *rules, name=name) for name, rules in (("first", first), ("other", other))]
    settings = {"mode": "open", "open_neurons": 200, "shuffled_controls": 0, "retests": 200}
    run = make_projected_run(tmp_path / "run", judge=judges[0], second_judges=judges[1:], **settings)
    done = label(run)
    assert set(done.concepts()["concept"]) == {"sum", "subtraction"}, "the first decides what a group is called"
    total = run.reliability().filter(measure="agreement")["total"][0]
    subtracting = done.concepts().filter(concept="subtraction").height
    assert value(done, "agreement")[:2] == (total - subtracting, total)
    assert value(done, "retest") == (total, total, 1.0)
    assert 0 < value(done, "kappa")[2] < 1


def test_another_name_when_asked_again_is_another_answer(tmp_path: Path) -> None:
    with serve_judge() as server:
        turn = {}

        def rule(request: Request) -> None:
            if '"groups"' in request.prompt:
                names = re.findall(r'^"(.*)"$', request.prompt, flags=re.MULTILINE)
                return text(json.dumps({"id": request.id, "groups": [[name] for name in names]}))(request)
            turn[request.id] = turn.get(request.id, 0) + 1
            name = "one" if turn[request.id] == 1 else "other"
            reply = {"id": request.id, "name": name, "reason": "r", "confidence": 1}
            return text(json.dumps(reply))(request)

        server.rule = rule
        run = make_projected_run(
            tmp_path / "run", judge="openai/m", mode="open", open_neurons=20, retests=20, base_url=f"{server.url}/v1"
        )
        done = label(run)
    assert value(done, "retest") == (0, 20, 0.0)
    assert value(done, "yield") == (20, 20, 1.0)


@pytest.mark.parametrize("mode", ["concepts", "open"])
def test_controls_have_the_form_of_the_rest(mode: str, tmp_path: Path) -> None:
    both = mock(tmp_path, {"verdict": "no", "name": "none"})
    run = make_projected_run(tmp_path / "run", judge=both, mode=mode, show="both", open_neurons=20)
    questions = planned(run, load_concepts())
    kinds = {asked.kind for asked in questions}
    assert kinds == {"label", "random", "shuffled", "retest"}
    assert {len(asked.question.opposite) for asked in questions} == {10}
    prompts = [render(asked.question, 1).user for asked in questions]
    assert len({re.sub(r'".*"|q[0-9a-f]{10}|Question: .*', "", prompt) for prompt in prompts}) == 1
    done = label(run)
    assert value(done, "random")[1] == sum(asked.kind == "random" for asked in questions) > 0
    assert {record["status"] for record in done.judgements()} == {"ok"}


def test_random_neurons_of_open_labelling_are_none_of_the_most_active(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run", judge=mock(tmp_path, {"name": "none"}), mode="open", open_neurons=30)
    asked = planned(run, load_concepts())
    chosen = {one.neuron for one in asked if one.kind == "label"}
    random = [one for one in asked if one.kind == "random"]
    assert len(chosen) == 30
    assert random
    assert not chosen & {one.neuron for one in random}
    assert {(n.layer, n.sign) for n in (one.neuron for one in random)} <= {(n.layer, n.sign) for n in chosen}
    assert {one.expected for one in random} == {None}, "it may well have a concept"
    everyone = make_projected_run(tmp_path / "all", judge=run.config.label.judge, mode="open", open_neurons=500)
    assert not [one for one in planned(everyone, load_concepts()) if one.kind == "random"]


def test_names_that_could_not_be_merged_are_told_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cotlens.judge.calls.Calls._put_off", lambda *_: None)
    names = {" sum": "sum", " plus": "addition"}

    def rule(request: Request) -> None:
        name = next((name for token, name in names.items() if f'"␣{token.strip()}"' in request.prompt), "none")
        text(json.dumps({"id": request.id, "name": name, "reason": "r", "confidence": 1}))(request)

    def merging(request: Request) -> None:
        groups = [["addition", "sum"]]
        merges = '"groups"' in request.prompt
        (text(json.dumps({"id": request.id, "groups": groups})) if merges else rule)(request)

    with serve_judge() as server:
        server.rule = lambda request: (fail(500) if '"groups"' in request.prompt else rule)(request)
        run = make_projected_run(
            tmp_path / "run",
            judge="openai/m",
            mode="open",
            open_neurons=60,
            base_url=f"{server.url}/v1",
            max_attempts=2,
        )
        with pytest.raises(ItemsFailedError, match=r"got no reply.*: 1; to ask them again: cotlens label"):
            run_pipeline(run.config, run.path, only="label")
        assert "did not group names that may mean the same, so they stay apart: no reply after 2" in caplog.text
        assert not open_run(run.path).is_done("label")
        assert set(open_run(run.path).concepts()["concept"]) == {"sum", "addition"}
        asked = len(server.requests)
        server.rule = merging
        again = run_pipeline(run.config, run.path, only="label")
        assert again.is_done("label")
        assert set(again.concepts()["concept"]) == {"sum"}
        assert len(server.requests) == asked + 1


def test_labels_are_checked_by_texts(tmp_path: Path) -> None:
    good = mock(tmp_path, {"token": " plus", "verdict": "yes"}, {"verdict": "no"})
    settings = {"judge": good, "min_seeds": 3, "detection": 20, "detection_contexts": 3}
    run = label(make_projected_run(tmp_path / "run", **settings))
    assert set(run.concepts()["neuron"]) == {0}
    assert value(run, "sensitivity") == (9, 9, 1.0)
    assert value(run, "specificity") == (9, 9, 1.0)
    with pytest.raises(InputError, match="lexicon can't read texts"):
        label(make_projected_run(tmp_path / "other", detection=2))


def test_the_labels_of_the_run_are_checked_by_whoever_reads_texts(tmp_path: Path) -> None:
    reader = mock(tmp_path, {"concept": "add", "verdict": "no"}, {"verdict": "no"})
    settings = {"second_judges": [reader], "min_seeds": 3, "detection": 20, "detection_contexts": 3}
    run = label(make_projected_run(tmp_path / "run", **settings))
    assert set(run.concepts()["neuron"]) == {0}, "the lexicon's"
    assert value(run, "sensitivity", judge=reader) == (0, 9, 0.0)
    assert run.reliability().filter(measure="sensitivity")["judge"].to_list() == [reader]


def test_the_lexicon_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't name concepts"):
        label(make_projected_run(tmp_path / "run", mode="open"))


def test_a_dry_run_tells_calls_and_price_and_asks_nothing(tmp_path: Path) -> None:
    with serve_judge() as server:
        run = make_projected_run(
            tmp_path / "run", judge="openai/m", second_judges=["lexicon"], base_url=f"{server.url}/v1",
            price_in_usd=2.0, price_out_usd=8.0,
        )  # fmt: skip
        before = estimate(run)
        remote, offline = before["judges"]
        assert remote["calls"] == before["questions"]["all"] > 28
        assert 0 < remote["about_usd"] < remote["at_most_usd"] == before["at_most_usd"]
        assert (offline["calls"], offline["about_usd"]) == (0, 0.0)
        assert not server.requests
        done = label(run)
        assert sum(record["cost_usd"] for record in done.judgements()) < remote["at_most_usd"]
        assert len(server.requests) == remote["calls"]
        assert estimate(run)["judges"][0]["calls"] == 0


def test_questions_that_failed_are_told_and_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cotlens.judge.calls.Calls._put_off", lambda *_: None)
    with serve_judge() as server:
        path = make_projected_run(
            tmp_path / "run", judge="openai/m", base_url=f"{server.url}/v1", max_attempts=2, concurrency=1
        ).path
        config = open_run(path).config
        server.rule = lambda request: (fail(500) if "w2x0y0" in request.prompt else say())(request)
        with pytest.raises(ItemsFailedError, match=r"got no reply.*cotlens label"):
            run_pipeline(config, path, only="label")
        run = open_run(path)
        assert not run.is_done("label")
        assert (2, 0, 1, "add") not in run.concepts().rows()
        asked = len(server.requests)
        server.rule = say()
        again = run_pipeline(config, path, only="label")
        assert again.is_done("label")
        assert (2, 0, 1, "add") in again.concepts().rows()
        assert 0 < len(server.requests) - asked < 10, "only what failed is asked again"


def test_what_a_judge_can_not_take_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(self: LexiconJudge, question: Question) -> Judgement:
        if " w2x0y0" in question.tokens:
            return Judgement("failed", None, "the question has 900 tokens, the judge reads 800", "", lasting=True)
        return Judgement("ok", True, "r", "r")

    monkeypatch.setattr(LexiconJudge, "ask", ask)
    run = make_projected_run(tmp_path / "run")
    with pytest.raises(ItemsFailedError, match=r"can't take.*: \d+, such as: the question has 900 tokens"):
        run_pipeline(run.config, run.path, only="label")
    done = open_run(run.path)
    assert done.is_done("label")
    failed = [record for record in done.judgements() if record["status"] == "failed"]
    assert {record["verdict"] for record in failed} == {None}
    assert (2, 0, 1, "add") not in done.concepts().rows()
    run_pipeline(run.config, run.path, only="label")
    assert open_run(run.path).judgements() == done.judgements(), "it is not asked again"
    with pytest.raises(ItemsFailedError):
        run_pipeline(run.config, run.path, only="label", ask_again=True)
    again = [record for record in open_run(run.path).judgements() if record["status"] == "failed"]
    assert len(again) == 2 * len(failed)


def test_a_dry_run_counts_what_would_be_asked_again(tmp_path: Path) -> None:
    with serve_judge() as server:
        run = make_projected_run(tmp_path / "run", judge="openai/m", base_url=f"{server.url}/v1")
        server.rule = lambda request: (text("") if "w2x0y0" in request.prompt else say())(request)
        label(run)
        refused = [record for record in run.judgements() if record["status"] == "refused"]
        asked = len(server.requests)
        assert estimate(run)["judges"][0]["calls"] == 0
        calls = estimate(run, ask_again=True)["judges"][0]["calls"]
        assert calls == len({record["question_hash"] for record in refused}) > 0
        assert len(server.requests) == asked, "nothing was asked"
        server.rule = say()
        run_pipeline(run.config, run.path, only="label", ask_again=True)
        assert len(server.requests) == asked + calls


def test_the_version_of_the_texts_is_in_the_manifest(tmp_path: Path) -> None:
    run = label(make_projected_run(tmp_path / "run"))
    assert json.loads((run.path / "manifest.json").read_text())["config"]["label"]["prompt_version"] == 1


def test_a_new_provider_keeps_an_account_of_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "mine", replace(JUDGES["openai"], form="mine/MODEL", key="", url="MY_URL"))
    with serve_judge() as server:
        monkeypatch.setenv("MY_URL", f"{server.url}/v1")
        prices = {"price_in_usd": 1.0, "price_out_usd": 1.0}
        run = label(make_projected_run(tmp_path / "run", judge="mine/m", max_cost_usd=5.0, **prices))
        lines = [json.loads(line) for line in (run.path / "calls.jsonl").read_text().splitlines()]
        assert sum(line["sent"] for line in lines) == len(server.requests) > 20
        assert sum(line.get("cost_usd", 0.0) for line in lines) == pytest.approx(440e-6 * len(server.requests))


def test_without_calls_there_is_no_account_of_them(tmp_path: Path) -> None:
    run = label(make_projected_run(tmp_path / "run"))
    assert not (run.path / "calls.jsonl").exists()


def test_a_mock_that_says_something_else_labels_anew(tmp_path: Path) -> None:
    judge = mock(tmp_path, {"verdict": "yes"})
    run = make_projected_run(tmp_path / "run", judge=judge)
    assert run_pipeline(run.config, run.path, only="label").concepts().height == 12
    mock(tmp_path, {"verdict": "no"})
    assert run_pipeline(run.config, run.path, only="label").concepts().height == 0


def test_what_was_made_from_other_labels_is_no_longer_shown(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run")
    run_pipeline(run.config, run.path, only="analyze")
    assert open_run(run.path).is_done("analyze")
    run_pipeline(run.config, run.path, only="label")
    assert open_run(run.path).is_done("analyze"), "nothing was labelled anew"
    stricter = run.config.model_copy(update={"label": run.config.label.model_copy(update={"min_seeds": 3})})
    run_pipeline(stricter, run.path, only="label")
    assert not open_run(run.path).is_done("analyze")


def test_a_key_that_is_missing_stops_it_before_anything_is_done(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run", judge="openai/gpt-4o")
    with pytest.raises(JudgeStoppedError, match="OPENAI_API_KEY"):
        run_pipeline(run.config, run.path, only="label")
    assert "label" not in open_run(run.path).manifest.stages


def test_replies_outlive_a_change_of_settings(tmp_path: Path) -> None:
    with serve_judge() as server:
        run = make_projected_run(tmp_path / "run", judge="openai/m", base_url=f"{server.url}/v1")
        run_pipeline(run.config, run.path, only="label")
        asked = len(server.requests)
        stricter = run.config.model_copy(update={"label": run.config.label.model_copy(update={"min_seeds": 3})})
        again = run_pipeline(stricter, run.path, only="label")
        assert again.concepts()["neuron"].unique().to_list() == [0]
        labels = [r for r in again.judgements() if r["kind"] == "label"]
        assert len(labels) == 12, "a question that was asked is not asked again"
        assert len(server.requests) > asked, "other controls are"


def test_judgements_are_what_the_docs_promise(tmp_path: Path) -> None:
    run = label(make_projected_run(tmp_path / "run"))
    fields = "kind neuron sign concept judge status verdict reason raw tokens cost_usd confidence answer input_tokens"
    fields += " output_tokens calls adapted lasting source tag question_hash entry"
    for line in (run.path / "judgements.jsonl").read_text().splitlines():
        assert list(json.loads(line)) == fields.split()
    assert run.reliability().columns == "measure judge other concept count total value low high".split()
    assert run.concepts().schema == {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8, "concept": pl.String}
