"""Whole runs on a tiny model: what is written, what is skipped, and what survives a crash."""

import hashlib
import importlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pyarrow import parquet

from cotlens import RunConfig, load_model, open_run, top_neurons
from cotlens.errors import CotlensError, InputError, RunMismatchError
from cotlens.pipeline import STAGES, run_pipeline
from cotlens.store import Run, RunWriter

pipeline = importlib.import_module("cotlens.pipeline")
page = importlib.import_module("cotlens.report.page")
DRAW = page.render

# Concepts whose seeds are frequent pieces of the tiny tokenizer, so that a random model has some to find.
CONCEPTS = """
- {id: letters, name: letters, seeds: [a, e, i, o, u, s, t, r], words: [n, d, l, m, c, p, h], question: 'Letters?'}
- {id: digits, name: digits, seeds: ['1', '2', '3', '4', '5'], words: ['6', '7', '8', '9', '0'], question: 'Digits?'}
"""


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("concepts") / "concepts.yaml"
    file.write_text(CONCEPTS)
    return file


@pytest.fixture(scope="module")
def config(llama_folder: Path, concepts: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": str(llama_folder), "device": "cpu"},
            "problems": {"limit": 5},
            "prompt": {"variants": ["cot", "equation_only"], "shots": 1},
            "generate": {"max_new_tokens": 8, "part_size": 3},
            "discover": {"top_k": 6},
            "project": {"top_n": 10},
            "label": {"concepts": str(concepts), "min_layer": 0},
            "analyze": {"bootstrap": 50, "control_draws": 3},
            "intervene": {"draws": 2, "control_draws": 2},
        }
    )


@pytest.fixture(autouse=True)
def _page_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes as long as all other stages together, and has tests of its own."""
    monkeypatch.setattr(page, "render", lambda _: "not drawn")


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run."""
    return run_pipeline(config, tmp_path_factory.mktemp("runs") / "whole")


def contents(run: Run) -> dict[str, str]:
    """Hash of every data file that the manifest names, read back from disk."""
    return {
        name: hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        for record in run.manifest.stages.values()
        for name in record.parts
        if name != "report.html"  # shows dates and durations
    }


def test_every_stage_leaves_its_files(finished: Run) -> None:
    assert {name: record.status for name, record in finished.manifest.stages.items()} == dict.fromkeys(STAGES, "done")
    names = {name for record in finished.manifest.stages.values() for name in record.parts}
    assert names >= {
        "completions/cot-0000.parquet",
        "completions/cot-0001.parquet",
        "completions/equation_only-0001.parquet",
        "activations/cot-0000.parquet",
        "neurons.parquet",
        "judgements.jsonl",
        "concepts.parquet",
        "analysis/accuracy.parquet",
        "analysis/frequencies.parquet",
        "analysis/layers.parquet",
        "analysis/steps.parquet",
        "interventions/none-00.parquet",
        "interventions/reasoning-set-noise-1.0-01.parquet",
        "interventions/reasoning-set-noise-1.0-random-01.parquet",
        "intervention_sets.parquet",
        "report.html",
    }


def test_a_neuron_can_be_read_without_all_others(
    finished: Run, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("cotlens.project.stage"), "ROWS_TOGETHER", 50)
    again = config.model_copy(update={"project": config.project.model_copy(update={"top_n": 9})})
    run = run_pipeline(again, shutil.copytree(finished.path, tmp_path / "run"), only="project")
    written = parquet.read_metadata(run.path / "neurons.parquet")
    assert {written.row_group(group).num_rows for group in range(written.num_row_groups - 1)} == {50}


def test_tables_have_the_columns_that_the_docs_promise(finished: Run) -> None:
    columns = {
        "completions": "variant question_id question gold prompt_length token_ids text stop_reason answer_strict "
        "answer_flexible correct correct_flexible stated",
        "activations": "variant question_id step token_id layer neuron coefficient score",
        "neurons": "layer neuron hits hits_positive hits_negative value_norm promoted suppressed promoted_ids "
        "promoted_logits promoted_probs suppressed_ids suppressed_logits norm",
        "concepts": "layer neuron sign concept",
        "interventions": "set kind dose draw question_id answer correct text stated stop_reason target scope tokens",
        "intervention_sets": "set target draw layer neuron",
        "tokens": "variant question_id position token_id text start end part demonstration line role",
    }
    for name, expected in columns.items():
        assert getattr(finished, name)().columns == expected.split()
    judgement = finished.judgements()[0]
    assert {"neuron", "concept", "judge", "status", "verdict", "reason", "raw", "tokens", "cost_usd"} <= set(judgement)


def test_frames_convert_to_pandas(finished: Run) -> None:
    assert len(finished.completions().to_pandas()) == 10


def test_stored_tokens_are_prompt_and_completion(finished: Run, config: RunConfig) -> None:
    lm = load_model(config.model.name, device="cpu")
    for row in finished.completions().iter_rows(named=True):
        generated = row["token_ids"][row["prompt_length"] :]
        assert lm.decode(generated).startswith(row["text"])
        assert row["question"] in lm.decode(row["token_ids"][: row["prompt_length"]])


def test_activations_are_those_of_each_text_alone(finished: Run, config: RunConfig) -> None:
    lm = load_model(config.model.name, device="cpu")
    activations = finished.activations()
    for row in finished.completions().iter_rows(named=True):
        recorded = activations.filter(variant=row["variant"], question_id=row["question_id"])
        steps = len(row["token_ids"]) - row["prompt_length"]
        assert recorded.height == steps * lm.n_layers
        if steps == 0:
            continue
        alone = top_neurons(lm, row["token_ids"], row["prompt_length"], top_k=6)
        shape = (steps, lm.n_layers, 6)
        np.testing.assert_array_equal(np.stack(recorded["neuron"].to_list()).reshape(shape), alone.neuron)
        coefficient = np.stack(recorded["coefficient"].to_list()).reshape(shape)
        np.testing.assert_allclose(coefficient, alone.coefficient, rtol=1e-4, atol=1e-5)
        tokens = recorded.filter(layer=0)["token_id"].to_list()
        assert tokens == row["token_ids"][row["prompt_length"] :]


def test_hits_count_every_recorded_appearance(finished: Run) -> None:
    neurons = finished.neurons()
    recorded = finished.activations().select(pl.col("neuron").list.len().sum()).item()
    assert neurons["hits"].sum() == recorded
    assert (neurons["hits"] == neurons["hits_positive"] + neurons["hits_negative"]).all()


def test_confirmed_neurons_are_those_with_a_yes(finished: Run) -> None:
    labels = [j for j in finished.judgements() if j["kind"] == "label"]
    said_yes = {(j["neuron"], j["sign"], j["concept"]) for j in labels if j["verdict"]}
    stored = {(f"L{layer}N{neuron}", sign, concept) for layer, neuron, sign, concept in finished.concepts().iter_rows()}
    assert stored == said_yes
    assert stored, "the test's concepts should find some neurons"


def test_a_negative_neuron_is_judged_by_the_tokens_it_suppresses(finished: Run) -> None:
    neurons = {(row["layer"], row["neuron"]): row for row in finished.neurons().iter_rows(named=True)}
    letters = set("aeioustrndlmcph")
    for layer, neuron, sign, concept in finished.concepts().iter_rows():
        if concept == "letters":
            tokens = neurons[layer, neuron]["promoted" if sign > 0 else "suppressed"]
            assert sum(token.strip(" \"'\n").casefold() in letters for token in tokens) >= 2
            assert neurons[layer, neuron]["hits_positive" if sign > 0 else "hits_negative"] > 0


def test_random_sets_match_the_reasoning_set_by_layer(finished: Run) -> None:
    members = pl.read_parquet(finished.path / "intervention_sets.parquet")
    target = sorted(members.filter(set="reasoning", draw=0)["layer"].to_list())
    reasoning = set(finished.concepts().select("layer", "neuron").rows())
    for draw in (0, 1):
        chosen = members.filter(set="random", draw=draw)
        assert sorted(chosen["layer"].to_list()) == target
        assert not reasoning & set(chosen.select("layer", "neuron").rows())


def test_untouched_answers_are_those_of_the_first_stage(finished: Run) -> None:
    untouched = finished.interventions().filter(set="none").sort("question_id")
    graded = finished.completions().filter(variant="cot").sort("question_id")
    assert untouched["text"].to_list() == graded["text"].to_list()


def test_a_second_run_does_nothing_and_loads_no_model(
    finished: Run, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    monkeypatch.setattr(pipeline.Study, "lm", property(lambda _: pytest.fail("the model was loaded")))
    again = run_pipeline(config, finished.path)
    assert contents(again) == before


def test_the_same_settings_give_the_same_bytes(finished: Run, config: RunConfig, tmp_path: Path) -> None:
    assert contents(run_pipeline(config, tmp_path / "again")) == contents(finished)


@pytest.mark.parametrize(
    ("write", "moment"),
    [
        (1, "after"),
        (4, "before"),
        (6, "within"),
        (9, "after"),
        (15, "within"),
        (21, "before"),
        (30, "within"),
        (40, "after"),
    ],
)
def test_killed_and_started_again_it_gives_the_same_bytes(
    finished: Run, config: RunConfig, tmp_path: Path, write: int, moment: str
) -> None:
    out = tmp_path / "killed"
    driver = Path(__file__).with_name("kill_driver.py")
    command = [sys.executable, str(driver), config.model_dump_json(), str(out), str(write), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    survived = {path: path.stat().st_mtime_ns for path in out.glob("completions/*.parquet")}
    named = (
        set(json.loads((out / "manifest.json").read_text())["stages"].get("generate", {}).get("parts", {}))
        if (out / "manifest.json").exists()
        else set()
    )
    resumed = run_pipeline(config, out)
    assert contents(resumed) == contents(finished)
    for path, modified in survived.items():
        if str(path.relative_to(out)) in named:
            assert path.stat().st_mtime_ns == modified, "a part that was finished is not made again"
    assert not [*out.glob(".*.tmp"), *out.glob("*/.*.tmp"), *out.glob("run.lock")]


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda data: data[:-7], "completions/cot-0000.parquet"),
        (lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], "activations/equation_only-0001.parquet"),
        (lambda data: b"", "neurons.parquet"),
    ],
)
def test_a_damaged_part_is_set_aside_and_made_again(
    finished: Run,
    config: RunConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    name: str,
) -> None:
    run = run_pipeline(config, tmp_path / "run")
    (run.path / name).write_bytes(damage((run.path / name).read_bytes()))
    mended = run_pipeline(config, run.path)
    assert contents(mended) == contents(finished)
    assert name in caplog.text
    assert (run.path / f"{name}.damaged").exists()


def test_one_stage_also_notices_a_completion_that_was_damaged(
    finished: Run, config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_pipeline(config, tmp_path / "run", only="discover")
    name = "completions/cot-0000.parquet"
    data = bytearray((run.path / name).read_bytes())
    data[60] ^= 1
    (run.path / name).write_bytes(data)
    mended = run_pipeline(config, run.path, only="project")
    assert name in caplog.text
    assert contents(mended).items() <= contents(finished).items()


@pytest.mark.parametrize(
    ("section", "change", "listed"),
    [
        ("seed", 7, "seed: 0 -> 7"),
        ("discover", {"top_k": 5}, "discover.top_k: 6 -> 5"),
        ("prompt", {"variants": ["cot", "equation_only"], "shots": 2}, "prompt.shots: 1 -> 2"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    finished: Run, config: RunConfig, section: str, change: object, listed: str
) -> None:
    before = contents(finished)
    other = RunConfig.model_validate(config.model_dump() | {section: change})
    with pytest.raises(RunMismatchError, match=listed) as caught:
        run_pipeline(other, finished.path)
    assert "--new-run" in str(caught.value)
    assert contents(open_run(finished.path)) == before


def test_other_weights_under_the_same_name_are_refused(config: RunConfig, llama_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in llama_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    moved = config.model_copy(update={"model": config.model.model_copy(update={"name": str(folder)})})
    run_pipeline(moved, tmp_path / "run", only="generate")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(RunMismatchError, match="weights"):
        run_pipeline(moved, tmp_path / "run")


def test_later_stages_need_neither_model_nor_problems(config: RunConfig, llama_folder: Path, tmp_path: Path) -> None:
    folder, problems = tmp_path / "model", tmp_path / "problems.jsonl"
    folder.mkdir()
    for file in llama_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    problems.write_text('{"question": "How many are 2 and 3?", "answer": "#### 5"}\n')
    elsewhere = RunConfig.model_validate(
        config.model_dump() | {"model": {"name": str(folder)}, "problems": {"source": str(problems)}}
    )
    run = run_pipeline(elsewhere, tmp_path / "run")
    assert not run.concepts().is_empty()
    folder.rename(tmp_path / "gone")
    problems.unlink()
    stricter = elsewhere.model_copy(update={"label": elsewhere.label.model_copy(update={"min_seeds": 9})})
    again = run_pipeline(stricter, run.path, only="analyze")
    assert again.concepts().is_empty()
    with pytest.raises(CotlensError, match="no such file or folder"):
        run_pipeline(
            stricter.model_copy(update={"discover": config.discover.model_copy(update={"top_k": 2})}),
            run.path,
            only="discover",
        )


def test_problems_that_changed_under_the_same_name_are_refused(config: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text('{"question": "How many are 2 and 3?", "answer": "#### 5"}\n')
    asked = RunConfig.model_validate(config.model_dump() | {"problems": {"source": str(file)}})
    run = run_pipeline(asked, tmp_path / "run", only="generate")
    before = contents(run)
    file.write_text('{"question": "How many are 2 and 4?", "answer": "#### 6"}\n')
    with pytest.raises(RunMismatchError, match=r"problems in .*--new-run"):
        run_pipeline(asked, run.path)
    assert contents(open_run(run.path)) == before


def test_weights_that_changed_are_noticed_when_one_stage_loads_them(
    config: RunConfig, llama_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in llama_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    moved = config.model_copy(update={"model": config.model.model_copy(update={"name": str(folder)})})
    run = run_pipeline(moved, tmp_path / "run", only="generate")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(RunMismatchError, match="weights"):
        run_pipeline(moved, run.path, only="discover")


def test_one_stage_runs_what_it_needs_and_no_more(config: RunConfig, tmp_path: Path) -> None:
    run = run_pipeline(config, tmp_path / "run", only="project")
    assert list(run.manifest.stages) == ["generate", "discover", "project"]
    with pytest.raises(InputError, match="cotlens label"):
        run.concepts()


def test_a_changed_stage_is_made_again_and_so_is_what_reads_it(config: RunConfig, tmp_path: Path) -> None:
    run = run_pipeline(config, tmp_path / "run", only="analyze")
    keys = {name: record.key for name, record in run.manifest.stages.items()}
    changed = config.model_copy(update={"label": config.label.model_copy(update={"min_seeds": 4})})
    again = run_pipeline(changed, run.path, only="analyze")
    now = {name: record.key for name, record in again.manifest.stages.items()}
    assert {name for name in keys if keys[name] != now[name]} == {"label", "analyze"}


def test_discovery_on_correct_answers_only_leaves_the_others_out(config: RunConfig, tmp_path: Path) -> None:
    chosen = config.model_copy(update={"discover": config.discover.model_copy(update={"questions": "correct"})})
    run = run_pipeline(chosen, tmp_path / "run", only="discover")
    correct = set(run.completions().filter("correct").select("variant", "question_id").rows())
    assert set(run.activations().select("variant", "question_id").unique().rows()) <= correct


def _recorded(run: Run, folder: str = "activations") -> dict[str, set[str]]:
    """By variant, the questions whose completions were read."""
    stage = {"activations": "discover", "reread": "reread"}[folder]
    pairs = pl.concat(pl.read_parquet(part) for part in run.part_paths(stage, f"{folder}/"))
    pairs = pairs.select("variant", "question_id").unique()
    return {
        variant: set(part["question_id"]) for (variant,), part in pairs.partition_by("variant", as_dict=True).items()
    }


def _with_sample(config: RunConfig, **discover: object) -> RunConfig:
    return config.model_copy(update={"discover": config.discover.model_copy(update=discover)})


def test_a_sample_of_the_completions_is_the_same_for_a_seed_and_for_every_variant(
    config: RunConfig, tmp_path: Path
) -> None:
    run = run_pipeline(_with_sample(config, sample=2, sample_seed=42), tmp_path / "run", only="discover")
    drawn = _recorded(run)
    assert drawn["cot"] == drawn["equation_only"], "all questions are candidates under both"
    assert len(drawn["cot"]) == 2
    again = run_pipeline(_with_sample(config, sample=2, sample_seed=42), tmp_path / "again", only="discover")
    assert _recorded(again) == drawn
    draws = {tuple(sorted(_drawn(run, seed))) for seed in range(12)}
    assert len(draws) > 4, "another seed draws others"


def _drawn(run: Run, seed: int, count: int = 2) -> list[str]:
    from cotlens.config import DiscoverConfig
    from cotlens.stored_texts import _draw

    return list(
        _draw(run.completions()["question_id"].unique().to_list(), DiscoverConfig(sample=count, sample_seed=seed))
    )


def test_a_larger_sample_holds_the_smaller_one_and_order_does_not_matter(finished: Run) -> None:
    small, large = _drawn(finished, 42, 2), _drawn(finished, 42, 4)
    assert large[:2] == small


def test_a_sample_of_right_answers_has_right_answers_only_and_says_where_they_are_few(
    config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = _with_sample(config, questions="correct", sample=3)
    run_pipeline(chosen, tmp_path / "run", only="generate")
    graded = tmp_path / "run"
    _grade_as_right(graded, {"cot": 4, "equation_only": 1})
    run = run_pipeline(chosen, graded, only="discover")
    right = run.completions().filter("correct")
    recorded = _recorded(run)
    assert {variant: len(questions) for variant, questions in recorded.items()} == {"cot": 3, "equation_only": 1}
    for variant, questions in recorded.items():
        assert questions <= set(right.filter(variant=variant)["question_id"])
    assert "variant 'equation_only' has 1 right answers, not 3" in caplog.text
    assert "'cot'" not in caplog.text


def test_a_run_without_right_answers_ends_with_empty_tables(config: RunConfig, tmp_path: Path) -> None:
    run = run_pipeline(_with_sample(config, questions="correct", sample=3), tmp_path / "run")
    assert not run.completions()["correct"].any(), "a random model knows nothing"
    assert run.is_done("report")
    assert run.activations().is_empty()


def _grade_as_right(folder: Path, counts: dict[str, int]) -> None:
    """Rewrite the grades of the first questions of each variant: a random model has no right answer."""
    with RunWriter.open(folder, open_run(folder).config) as writer:
        for part in writer.part_paths("generate", "completions/"):
            rows = pl.read_parquet(part)
            variant = rows["variant"][0]
            first = 3 * int(part.stem[-4:])
            correct = [first + place < counts[variant] for place in range(rows.height)]
            writer.add_frame("generate", f"completions/{part.name}", rows.with_columns(correct=pl.Series(correct)))


def test_rereading_takes_the_texts_that_discovery_took(config: RunConfig, tmp_path: Path) -> None:
    chosen = _with_sample(config, sample=2)
    chosen = chosen.model_copy(update={"analyze": chosen.analyze.model_copy(update={"reread": True})})
    run = run_pipeline(chosen, tmp_path / "run", only="reread")
    assert _recorded(run, "reread")["equation_only"] == _recorded(run)["cot"]


def test_the_analysis_and_the_report_of_a_sample_are_made(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "render", DRAW)
    run = run_pipeline(_with_sample(config, sample=2), tmp_path / "run")
    assert run.is_done("report")
    assert "2 of all completions per variant" in (run.path / "report.html").read_text()


def test_tokens_after_the_end_are_discovered_and_not_graded(config: RunConfig, tmp_path: Path) -> None:
    """The tiny model's end token is made one that it does write."""
    lm = load_model(config.model.name, device="cpu")
    first = run_pipeline(config, tmp_path / "first", only="generate").completions()
    length, ids = first.select("prompt_length", "token_ids").row(0)
    lm.model.generation_config.eos_token_id = ids[length + 3]
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    onward = RunConfig.model_validate(
        config.model_dump()
        | {"model": {"name": str(tmp_path / "model"), "device": "cpu"}}
        | {"generate": config.generate.model_dump() | {"stop": [], "stop_at_end": False}}
    )
    run = run_pipeline(onward, tmp_path / "run")
    rows = run.completions()
    assert rows.select(pl.col("token_ids").list.len() - pl.col("prompt_length")).to_series().to_list() == [8] * 10
    ended = rows.filter(stop_reason="eos")
    assert ended.height
    for length, ids, text in ended.select("prompt_length", "token_ids", "text").rows():
        end = ids.index(lm.model.generation_config.eos_token_id, length)
        assert text == lm.decode(ids[length:end])
    steps = run.activations().group_by("variant", "question_id").agg(pl.col("step").max())
    assert set(steps["step"]) == {7}, "all eight tokens are steps"
    assert run.is_done("report")


def test_wrong_names_are_found_before_anything_is_loaded(config: RunConfig, tmp_path: Path) -> None:
    for section, change, message in (
        ("prompt", {"variants": ["cot", "equation_onyl"]}, "did you mean 'equation_only'"),
        ("intervene", {"variant": "text_only"}, "must be one of prompt.variants"),
        ("problems", {"source": str(tmp_path / "gsm8k.jsonl")}, "no such file"),
        ("label", {"judge": "gpt"}, "judge 'gpt' is not known"),
        ("label", {"min_layer": 3}, "layers 0 to 2"),
        ("discover", {"top_k": 49}, "has 48 neurons per layer"),
        ("model", {"name": "smollm2-135"}, "did you mean 'smollm2-135m'"),
    ):
        wrong = RunConfig.model_validate(config.model_dump() | {section: change})
        with pytest.raises(CotlensError, match=message):
            run_pipeline(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
