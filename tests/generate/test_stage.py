"""The generate stage: prompts are checked before any is answered, and each variant's beginning is computed once."""

from pathlib import Path

import pytest

from cotlens import LanguageModel, RunConfig
from cotlens.data import load_problems
from cotlens.errors import InputError
from cotlens.generate.stage import generate_stage
from cotlens.model import prefix
from cotlens.store import Run, RunWriter
from cotlens.types import Problem, Silent


def make_config(**generate: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"device": "cpu"},
            "problems": {"limit": 5},
            "prompt": {"variants": ["cot", "equation_only"], "shots": 1},
            "generate": {"max_new_tokens": 8, "part_size": 2} | generate,
        }
    )


def run_stage(config: RunConfig, lm: LanguageModel, problems: list[Problem], path: Path) -> Run:
    with RunWriter.open(path, config) as run:
        run.begin("generate", "key")
        generate_stage(run, lm, problems, Silent())
        run.finish("generate", 0.0)
        return Run(run.path, run.manifest)


def with_a_long_one(config: RunConfig) -> list[Problem]:
    problems = load_problems(config.problems)
    long = Problem("long", "How many pens " * 400, problems[0].gold)
    return [*problems[:3], long, *problems[3:]]


def test_the_beginning_of_a_variant_is_computed_once_for_all_parts(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    real = prefix.compute_prefix
    monkeypatch.setattr(prefix, "compute_prefix", lambda lm, ids: lengths.append(len(ids)) or real(lm, ids))
    config = make_config()
    run = run_stage(config, llama, load_problems(config.problems), tmp_path / "run")
    assert lengths == [run.manifest.prompts[variant]["shared_tokens"] for variant in config.prompt.variants]
    assert run.completions()["variant"].to_list() == ["cot"] * 5 + ["equation_only"] * 5


def test_a_prompt_that_is_too_long_is_named_before_any_is_answered(llama: LanguageModel, tmp_path: Path) -> None:
    config = make_config()
    with pytest.raises(InputError, match=r"variant 'cot', question 'long': the prompt has \d+ tokens; with 8 new ones"):
        run_stage(config, llama, with_a_long_one(config), tmp_path / "run")
    assert not list((tmp_path / "run").glob("completions/*"))


def test_questions_that_are_too_long_may_be_skipped_under_every_variant(
    llama: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(too_long="skip")
    problems = with_a_long_one(config)
    run = run_stage(config, llama, problems, tmp_path / "run")
    assert "1 of 6 questions are left out" in caplog.text
    assert "long" in caplog.text
    assert run.manifest.prompts["cot"]["left_out"] == ["long"]
    kept = [problem.id for problem in problems if problem.id != "long"]
    assert run.completions()["question_id"].to_list() == kept * 2


def test_if_none_fits_that_is_an_error(llama: LanguageModel, tmp_path: Path) -> None:
    config = make_config(too_long="skip", max_new_tokens=3000)
    with pytest.raises(InputError, match="no question fits in the model's context of 2048 tokens"):
        run_stage(config, llama, load_problems(config.problems), tmp_path / "run")
