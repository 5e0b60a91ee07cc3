"""The stage ``label`` on a run made by hand: what is asked, what is written, what is known of the judge afterwards."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from tests.judge_server import fail, say, serve_judge
from tests.labelled_run import make_projected_run

from cotlens.concepts import label_stage, load_concepts
from cotlens.concepts.estimate import estimate
from cotlens.concepts.stage import planned
from cotlens.errors import InputError, ItemsFailedError, JudgeStoppedError
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


def test_names_are_merged_by_the_judge_and_the_most_frequent_stands_for_all() -> None:
    from cotlens.concepts.naming import concept_id, merge_names, plain_name

    names = ["Addition", "sums", "the sum", "addition", "additions", "colour", "none"]
    asked = []

    def ask(question: object) -> dict[str, object]:
        asked.append(question.question.names)
        return {"answer": (("addition", "sum"), ("colour",))}

    merged = merge_names(names, ask)
    assert asked == [("addition", "colour", "sum")]
    assert merged == dict.fromkeys(names[:5], "addition") | {"colour": "colour", "none": "none"}
    assert plain_name(" “Units of Length” ") == "units of length"
    assert plain_name("glass") == "glass"
    assert concept_id("unit of length") == "unit_of_length"


def test_labels_are_checked_by_texts(tmp_path: Path) -> None:
    good = mock(tmp_path, {"token": " plus", "verdict": "yes"}, {"verdict": "no"})
    settings = {"judge": good, "min_seeds": 3, "detection": 20, "detection_contexts": 3}
    run = label(make_projected_run(tmp_path / "run", **settings))
    assert set(run.concepts()["neuron"]) == {0}
    assert value(run, "sensitivity") == (9, 9, 1.0)
    assert value(run, "specificity") == (9, 9, 1.0)
    with pytest.raises(InputError, match="lexicon can't read texts"):
        label(make_projected_run(tmp_path / "other", detection=2))


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
