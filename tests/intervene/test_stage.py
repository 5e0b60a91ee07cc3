"""The experiment on a model whose right answers are the work of planted neurons, and of nothing else."""

import importlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.planted import ANSWER, Planted, plant

from cotlens import RunConfig, load_model
from cotlens.analyze.matching import COVARIATES
from cotlens.config import InterveneConfig
from cotlens.errors import CotlensError, InputError
from cotlens.intervene.conditions import make_conditions
from cotlens.pipeline import run_pipeline
from cotlens.rescore import rescore
from cotlens.store import Run, RunWriter

pipeline = importlib.import_module("cotlens.pipeline")

CONTROLS = 4
EDITS = [{"kind": "zero"}, {"kind": "noise", "doses": [0.0]}, {"kind": "mean"}]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(said=ANSWER)


@pytest.fixture(scope="module")
def settings(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four questions, of which the model answers two right: it says 7 to all."""
    folder = tmp_path_factory.mktemp("stage")
    planted.lm.model.save_pretrained(folder / "model")
    planted.lm.tokenizer.save_pretrained(folder / "model")
    problems = [{"question": f"word{n} word{n + 1} step", "answer": gold} for n, gold in enumerate("7787")]
    (folder / "problems.jsonl").write_text("".join(f"{json.dumps(problem)}\n" for problem in problems))
    return {
        "model": {"name": str(folder / "model"), "device": "cpu"},
        "problems": {"source": str(folder / "problems.jsonl")},
        "prompt": {"variants": ["cot"], "shots": 1},
        "generate": {"max_new_tokens": 6},
        "discover": {"top_k": 8},
        "label": {"min_layer": 0},
        "analyze": {"bootstrap": 100, "permutations": 99, "control_draws": 2},
        "intervene": {
            "sets": ["reasoning", "concept:add"],
            "scopes": ["set", "rest"],
            "edits": EDITS,
            "draws": 2,
            "control_draws": CONTROLS,
        },
    }


def with_intervene(settings: dict[str, Any], **changed: object) -> RunConfig:
    few = {"scopes": ["set"], "edits": [{"kind": "zero"}], "control_draws": 1, "specificity": False}
    return RunConfig.model_validate(settings | {"intervene": {"sets": ["reasoning"]} | few | changed})


@pytest.fixture(scope="module")
def run(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pipeline(RunConfig.model_validate(settings), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def discovered(settings: dict[str, Any], run: Run, tmp_path: Path) -> Path:
    """A run that has come as far as labels."""
    copy = tmp_path / "run"
    with RunWriter.open(copy, run.config) as writer:
        for stage in ("generate", "discover", "project", "label"):
            writer.manifest.stages[stage] = run.manifest.stages[stage].model_copy(deep=True)
            for part in run.manifest.stages[stage].parts:
                (copy / part).parent.mkdir(exist_ok=True)
                (copy / part).write_bytes((run.path / part).read_bytes())
        writer.manifest.model = dict(run.manifest.model)
        writer.manifest.prompts = dict(run.manifest.prompts)
        writer.save_manifest()
    return copy


def effect(run: Run, measure: str, **where: object) -> dict[str, Any]:
    [row] = run.analysis("effects").filter(measure=measure, target="reasoning", **where).to_dicts()
    return row


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_editing_the_planted_neurons_destroys_the_answers_and_matched_random_sets_do_not(run: Run, kind: str) -> None:
    row = effect(run, "accuracy", scope="set", kind=kind)
    assert (row["untouched"], row["value"], row["random"]) == (0.75, 0.0, 0.75)
    assert (row["difference"], row["excess"]) == (-0.75, -0.75)
    assert (row["control_draws"], row["questions"]) == (CONTROLS, 4)
    assert row["p_value"] == 1 / (1 + CONTROLS)
    assert row["q_value"] == 1 / (1 + CONTROLS), "the two sets hold the same neurons"


def test_draws_of_noise_and_of_tokens_are_conditions_of_their_own(settings: dict[str, Any], discovered: Path) -> None:
    edits = [{"kind": "noise", "doses": [100.0]}, {"kind": "resample"}, {"kind": "scale", "doses": [1.0, -1.0]}]
    found = run_pipeline(with_intervene(settings, edits=edits, draws=2), discovered, only="intervene")
    noise, resample, same, reverse = found.analysis("effects").filter(measure="accuracy").to_dicts()
    assert (noise["draws"], resample["draws"], same["draws"]) == (2, 2, 1)
    assert (resample["value"], resample["random"]) == (0.0, 0.75)
    assert (same["value"], reverse["value"]) == (0.75, 0.0)
    own = found.interventions().filter(kind="noise", set="reasoning")
    texts = [own.filter(draw=draw)["text"].to_list() for draw in (0, 1)]
    assert texts[0] != texts[1]


def test_keeping_the_planted_neurons_suffices_and_keeping_random_ones_does_not(run: Run) -> None:
    row = effect(run, "accuracy", scope="rest", kind="zero")
    assert (row["value"], row["random"], row["p_value"]) == (0.75, 0.0, 1 / (1 + CONTROLS))


def test_what_the_planted_neurons_do_not_do_is_left(run: Run) -> None:
    perplexity, questions = (effect(run, name, scope="set", kind="zero") for name in ("perplexity", "questions"))
    assert abs(perplexity["difference"]) < 0.02
    assert questions["questions"] == 100
    assert abs(questions["difference"]) < 0.05


def test_noise_without_size_changes_nothing(run: Run) -> None:
    untouched = run.interventions().filter(set="none").select("question_id", "text")
    silent = run.interventions().filter(kind="noise", dose=0.0, scope="set").select("question_id", "text")
    assert silent.unique().sort("question_id").equals(untouched.sort("question_id"))
    plain = run.specificity()
    before = plain.filter(set="none")["log_prob"]
    for (_,), rows in plain.filter(pl.col("kind") == "noise", dose=0.0, scope="set", target="reasoning").group_by(
        "draw"
    ):
        assert rows["log_prob"].to_list()[: len(before)] == before.to_list()


def test_the_planted_neurons_are_all_edited_also_those_that_share_a_layer(run: Run, planted: Planted) -> None:
    members = run.intervention_sets()
    own = members.filter(set="reasoning").select("layer", "neuron").rows()
    assert own == sorted((neuron.layer, neuron.neuron) for neuron in planted.neurons)
    assert [layer for layer, _ in own].count(2) == 2


def test_random_sets_have_the_layers_of_their_target_and_no_labelled_neuron(run: Run) -> None:
    members = run.intervention_sets()
    labelled = set(run.concepts().select("layer", "neuron").rows())
    for target in ("reasoning", "concept:add"):
        histogram = members.filter(set=target)["layer"].value_counts().sort("layer")
        random = members.filter(target=target, set="random")
        assert sorted(random["draw"].unique()) == list(range(CONTROLS))
        for (_,), drawn in random.group_by("draw"):
            assert drawn["layer"].value_counts().sort("layer").equals(histogram)
            assert not labelled & set(drawn.select("layer", "neuron").rows())
    balance = run.analysis("control_balance")
    assert balance["covariate"].to_list() == [*COVARIATES, "layer"] * 2
    assert balance["target"].unique(maintain_order=True).to_list() == ["reasoning", "concept:add"]
    assert set(balance["random_sets"]) == {CONTROLS}


def test_tables_hold_every_condition_in_the_order_of_the_settings(run: Run) -> None:
    effects = run.analysis("effects")
    edits = 2 * 2 * 3
    assert effects.height == edits * 5
    assert effects["target"].unique(maintain_order=True).to_list() == ["reasoning", "concept:add"]
    assert effects.filter(target="reasoning")["kind"].unique(maintain_order=True).to_list() == [
        "zero", "noise", "mean",
    ]  # fmt: skip
    draws = run.analysis("effect_draws")
    conditions = make_conditions(run.config.intervene, run.intervention_sets(), run.neurons().select("layer", "neuron"))
    assert draws.height == 1 + len(conditions)
    assert draws.null_count().select("accuracy", "perplexity", "questions").row(0) == (0, 0, 0)
    assert draws["set"][0] == "none"
    failures = run.analysis("edit_failures")
    assert failures.height == 4 * draws.height
    shares = run.analysis("edit_failure_shares").filter(
        pl.col("class") == "correct", target="reasoning", scope="set", kind="zero", set="reasoning"
    )
    assert shares["difference"].to_list() == [-0.75]


def test_a_changed_level_makes_tables_again_and_loads_no_model(
    settings: dict[str, Any], discovered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_intervene(settings)
    before = run_pipeline(config, discovered, only="intervene").analysis("effects")
    monkeypatch.setattr(pipeline.Study, "lm", property(lambda _: pytest.fail("the model was loaded")))
    other = config.model_copy(update={"analyze": config.analyze.model_copy(update={"confidence": 0.5})})
    again = run_pipeline(other, discovered, only="intervene").analysis("effects")
    assert again["value"].equals(before["value"])
    assert (again["high"] < before["high"]).any()
    assert run_pipeline(other, discovered, only="intervene").analysis("effects").equals(again)


def test_graded_again_the_tables_are_made_again_and_load_no_model(
    settings: dict[str, Any], discovered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_intervene(settings, questions="correct")
    finished = run_pipeline(config, discovered, only="intervene")
    name = "interventions/none-00.parquet"
    rows = pl.read_parquet(finished.path / name)
    assert rows["correct"].all()
    assert rows.height == 3, "of four questions three are answered right"
    with RunWriter.open(discovered, config) as writer:
        writer.replace_frame("intervene", name, rows.with_columns(correct=pl.Series([False, True, True])))
    wrong = effect(run_pipeline(config, discovered, only="intervene"), "accuracy")
    assert wrong["untouched"] == 1, "tables are made when the stage has run, not when a file is replaced"
    rescore(discovered)
    monkeypatch.setattr(pipeline.Study, "lm", property(lambda _: pytest.fail("the model was loaded")))
    again = run_pipeline(config, discovered, only="intervene")
    assert effect(again, "accuracy")["untouched"] == 1
    assert again.interventions().filter(set="none")["correct"].all()


def test_a_part_that_is_missing_is_made_again_alone(settings: dict[str, Any], discovered: Path) -> None:
    config = with_intervene(settings, control_draws=2)
    finished = run_pipeline(config, discovered, only="intervene")
    parts = {path: path.stat().st_mtime_ns for path in (discovered / "interventions").iterdir()}
    lost = next(path for path in parts if path.name.endswith("-random-01.parquet"))
    data = lost.read_bytes()
    lost.unlink()
    assert run_pipeline(config, discovered, only="intervene").analysis("effects").equals(finished.analysis("effects"))
    assert lost.read_bytes() == data
    assert {path for path, time in parts.items() if path.stat().st_mtime_ns != time} == {lost}


def test_large_sets_take_turns(settings: dict[str, Any], discovered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = importlib.import_module("cotlens.intervene.stage")
    config = with_intervene(settings, scopes=["set", "rest"])
    together = run_pipeline(config, discovered, only="intervene").interventions()
    monkeypatch.setattr(stage, "_TERM_BYTES", 1)
    asked: list[int] = []
    real = stage.answer
    monkeypatch.setattr(stage, "answer", lambda lm, tasks, *rest: asked.append(len(tasks)) or real(lm, tasks, *rest))
    with RunWriter.open(discovered, config) as writer:
        writer.forget(["intervene"])
    assert run_pipeline(config, discovered, only="intervene").interventions().equals(together)
    assert asked == [1] * 4


def test_another_ranker_reads_the_completions_again(
    settings: dict[str, Any], discovered: Path, planted: Planted
) -> None:
    config = with_intervene(settings, sets=["top:4:dla", "top:4:norm", "top:4"], control_draws=0)
    found = run_pipeline(config, discovered, only="intervene").intervention_sets()
    sets = {name: set(found.filter(set=name).select("layer", "neuron").rows()) for name in config.intervene.sets}
    assert sets["top:4:norm"] == sets["top:4"] == {(n.layer, n.neuron) for n in planted.neurons}
    assert sets["top:4:dla"] & sets["top:4"], "what says the answer is among the first"


def test_a_listed_neuron_may_be_one_that_was_never_active(
    settings: dict[str, Any], discovered: Path, tmp_path: Path, run: Run
) -> None:
    active = set(run.neurons().filter(pl.col("hits") > 0).select("layer", "neuron").rows())
    silent = next((0, neuron) for neuron in range(64) if (0, neuron) not in active)
    (tmp_path / "list.txt").write_text("L{}N{}\n".format(*silent))
    config = with_intervene(settings, sets=[f"list:{tmp_path / 'list.txt'}"], scopes=["set", "rest"])
    found = run_pipeline(config, discovered, only="intervene")
    own, random = found.intervention_sets().select("layer", "neuron").rows()
    assert own == silent
    assert random[0] == 0
    assert random in active


def test_another_list_under_the_same_name_is_another_stage(
    settings: dict[str, Any], discovered: Path, tmp_path: Path
) -> None:
    file = tmp_path / "list.txt"
    config = with_intervene(settings, sets=[f"list:{file}"])
    for neuron in ("L1N5", "L2N17"):
        file.write_text(neuron)
        found = run_pipeline(config, discovered, only="intervene").intervention_sets()
        assert "L{}N{}".format(*found.filter(set=config.intervene.sets[0]).select("layer", "neuron").row(0)) == neuron


def test_without_enough_other_neurons_there_is_no_control_and_that_is_said(
    settings: dict[str, Any], discovered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = run_pipeline(with_intervene(settings, sets=["all"], control_draws=3), discovered, only="intervene")
    assert "set 'all' has no random sets: too few other discovered neurons without a label in layer 0" in caplog.text
    row = found.analysis("effects").filter(measure="accuracy").row(0, named=True)
    assert (row["control_draws"], row["p_value"], row["random"]) == (0, None, None)
    assert set(found.analysis("control_balance")["random_sets"]) == {0}
    assert found.intervention_sets().filter(set="random").is_empty()


def test_no_right_answer_leaves_nothing_to_ask(
    settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hard.jsonl").write_text('{"question": "word1 step", "answer": "3"}\n')
    config = with_intervene(settings | {"problems": {"source": str(tmp_path / "hard.jsonl")}}, questions="correct")
    found = run_pipeline(config, tmp_path / "run", only="intervene")
    assert "no question is left to ask" in caplog.text
    assert found.analysis("effects").is_empty()
    assert found.interventions().is_empty()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sets": ["reasoning@0"]}, "'reasoning@0' has no neuron in these layers"),
        ({"sets": ["concept:divide"]}, "'concept:divide' has no neuron; the judge confirmed neurons for add"),
        ({"sets": ["reasoning@2-4"]}, "'reasoning@2-4': .* has layers 0 to 3"),
        ({"sets": ["raisoning"]}, "did you mean 'reasoning'"),
        ({"reference": "/no/such/text", "edits": [{"kind": "mean"}]}, "/no/such/text"),
    ],
)
def test_a_mistake_is_told_before_weights_are_loaded(
    settings: dict[str, Any], discovered: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(pipeline.Study, "lm", property(lambda _: pytest.fail("the model was loaded")))
    with pytest.raises(InputError, match=message):
        run_pipeline(with_intervene(settings, **changed), discovered, only="intervene")


def test_weights_are_as_before_also_where_the_stage_breaks_off(
    settings: dict[str, Any], discovered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_intervene(settings, control_draws=3)
    lm = load_model(config.model.name, device="cpu")
    weights = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    monkeypatch.setattr(pipeline.Study, "lm", lm)
    real = RunWriter.add_frame

    def break_off(self: RunWriter, stage: str, name: str, frame: pl.DataFrame) -> None:
        if name.endswith("-random-01.parquet"):
            raise CotlensError("stop here")
        real(self, stage, name, frame)

    monkeypatch.setattr(RunWriter, "add_frame", break_off)
    with pytest.raises(CotlensError, match="stop here"):
        run_pipeline(config, discovered, only="intervene")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in lm.model.state_dict().items())
    assert not any(ffn.down_projection._forward_hooks for ffn in lm.ffn)


def test_defaults_are_those_of_a_study() -> None:
    config = InterveneConfig()
    assert (config.sets, config.scopes, config.control_draws) == (("reasoning",), ("set",), 20)
