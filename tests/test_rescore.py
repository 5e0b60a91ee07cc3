"""Grading stored completions again: what changes, what is made again, and what a crash leaves."""

import hashlib
import shutil
from pathlib import Path

import polars as pl
import pytest

from cotlens import RunConfig, open_run
from cotlens.errors import EnvironmentFault, InputError
from cotlens.pipeline import run_pipeline
from cotlens.rescore import rescore
from cotlens.store import RunWriter, damaged_parts

SETTINGS = {
    "problems": {"limit": 3},
    "prompt": {"variants": ["cot", "zero_shot_cot"], "shots": 1},
    "generate": {"max_new_tokens": 6, "answer_tokens": 3},
    "discover": {"top_k": 4},
    "project": {"top_n": 5},
    "analyze": {"bootstrap": 20, "control_draws": 2},
    "intervene": {"control_draws": 1, "draws": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> Path:
    config = RunConfig.model_validate(SETTINGS | {"model": {"name": str(llama_folder), "device": "cpu"}})
    return run_pipeline(config, tmp_path_factory.mktemp("runs") / "tiny").path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def write(run: Path, part: str, **columns: list[str | None]) -> None:
    """Put other texts into a stored part, as if the model had written them, grades left as they are."""
    stage = "generate" if part.startswith("completions") else "intervene"
    with RunWriter.open(run, open_run(run).config) as writer:
        frame = pl.read_parquet(run / part)
        changed = [pl.Series(name, values, dtype=pl.String) for name, values in columns.items()]
        writer.replace_frame(stage, part, frame.with_columns(changed))


def test_a_run_that_was_graded_by_the_same_rules_does_not_change(run: Path) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*.parquet")}
    found = rescore(run)
    assert (found.graded, found.changes, list(found.stale)) == (9, [], [])
    assert {file: file.read_bytes() for file in run.rglob("*.parquet")} == before


def test_answers_and_grades_are_read_from_the_texts(run: Path) -> None:
    golds = open_run(run).completions().filter(variant="cot")["gold"].to_list()
    write(run, "completions/cot-0000.parquet", text=[f"The answer is {golds[0]}.", "so 3 + 4 = 99", "nothing"])
    found = rescore(run)
    assert [(row["after"], row["correct"]) for row in found.changes] == [(golds[0], True), (None, False)]
    rows = open_run(run).completions().filter(variant="cot")
    assert rows["answer_strict"].to_list() == [golds[0], None, None]
    assert rows["answer_flexible"].to_list() == [golds[0], "99", None]
    assert rows["correct"].to_list() == rows["correct_flexible"].to_list() == [True, False, False]


def test_what_the_model_stated_when_asked_again_counts(run: Path) -> None:
    gold = open_run(run).completions().filter(variant="zero_shot_cot")["gold"].to_list()
    write(
        run,
        "completions/zero_shot_cot-0000.parquet",
        text=["Let me see 5.", "The answer is 1.", "?"],
        stated=[f" {gold[0]}.", None, " none"],
    )
    rescore(run)
    rows = open_run(run).completions().filter(variant="zero_shot_cot")
    assert rows["answer_strict"].to_list() == [gold[0], "1", None]
    assert rows["answer_flexible"].to_list() == [gold[0], "1", None]


def test_interventions_are_graded_again_too(run: Path) -> None:
    gold = open_run(run).completions().filter(variant="cot")["gold"].to_list()
    write(run, "interventions/none-00.parquet", text=[f"the answer is ${gold[0]}", "", ""])
    found = rescore(run)
    assert {row["file"] for row in found.changes} == {"interventions/none-00.parquet"}
    assert open_run(run).interventions().filter(set="none")["correct"].to_list() == [True, False, False]


def test_tables_and_report_are_made_again_without_the_model(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gold = open_run(run).completions().filter(variant="cot")["gold"].to_list()
    write(run, "completions/cot-0000.parquet", text=[f"The answer is {number}." for number in gold])
    found = rescore(run)
    assert list(found.stale) == ["analyze", "report"]
    monkeypatch.setattr("cotlens.model.load.load_model", None)
    for stage in found.stale:
        run_pipeline(open_run(run).config, run, only=stage)
    again = open_run(run)
    assert again.analysis("accuracy").filter(variant="cot")["accuracy"].item() == 1.0
    assert again.is_done("report")
    assert damaged_parts(again) == []


def test_a_crash_between_two_writes_leaves_one_of_the_two_grades(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, "completions/cot-0000.parquet", text=["The answer is 5."] * 3)
    saves = iter(range(100))
    honest = RunWriter.save_manifest

    def dies(self: RunWriter) -> None:
        # Saved: opening, stages taken out, the checksum to come; then the file; then this.
        if next(saves) == 3:
            raise EnvironmentFault("killed")
        honest(self)

    monkeypatch.setattr(RunWriter, "save_manifest", dies)
    with pytest.raises(EnvironmentFault, match="killed"):
        rescore(run)
    monkeypatch.setattr(RunWriter, "save_manifest", honest)
    record = open_run(run).manifest.stages["generate"].parts["completions/cot-0000.parquet"]
    on_disk = hashlib.sha256((run / "completions/cot-0000.parquet").read_bytes()).hexdigest()
    assert on_disk == record.next_sha256 != record.sha256
    assert damaged_parts(open_run(run)) == []
    rescore(run)
    assert open_run(run).completions().filter(variant="cot")["answer_strict"].to_list() == ["5", "5", "5"]


def test_a_damaged_part_is_named_and_nothing_is_touched(run: Path) -> None:
    part = run / "completions/cot-0000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=r"damaged: completions/cot-0000\.parquet"):
        rescore(run)
    assert (run / "manifest.json").read_bytes() == before


def test_a_run_without_completions_is_refused(tmp_path: Path) -> None:
    with RunWriter.open(tmp_path / "new", RunConfig()):
        pass
    with pytest.raises(InputError, match=r"no completions yet; run `cotlens generate"):
        rescore(tmp_path / "new")
    with pytest.raises(InputError, match="not a run directory"):
        rescore(tmp_path)
