"""One text after every variant's prompt: the activations are those of exactly that text."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cotlens import RunConfig, top_neurons
from cotlens.errors import ConfigError
from cotlens.model.load import load_model
from cotlens.pipeline import run_pipeline
from cotlens.store import Run

VARIANTS = ("cot", "equation_only", "text_only")


def _config(folder: Path, **analyze: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": str(folder), "device": "cpu"},
            "problems": {"limit": 3},
            "prompt": {"variants": list(VARIANTS), "shots": 1},
            "generate": {"max_new_tokens": 6, "part_size": 2},
            "discover": {"top_k": 4},
            "analyze": {"bootstrap": 20, "control_draws": 2, "permutations": 50, **analyze},
            "intervene": {"control_draws": 1, "draws": 1},
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> Run:
    return run_pipeline(_config(llama_folder, reread=True), tmp_path_factory.mktemp("reread") / "run", only="analyze")


def test_each_part_holds_the_reference_text_after_the_variants_own_prompt(finished: Run, llama_folder: Path) -> None:
    lm = load_model(str(llama_folder), device="cpu")
    parts = finished.part_paths("reread", "reread/")
    assert [part.stem for part in parts] == [
        f"{variant}-000{place}" for variant in ("equation_only", "text_only") for place in (0, 1)
    ]
    forced = pl.concat(pl.read_parquet(part) for part in parts)
    completions = {(row["variant"], row["question_id"]): row for row in finished.completions().iter_rows(named=True)}
    for (variant, question), group in forced.group_by("variant", "question_id"):
        own, reference = completions[variant, question], completions["cot", question]
        prompt = own["token_ids"][: own["prompt_length"]]
        text = reference["token_ids"][reference["prompt_length"] :]
        expected = top_neurons(lm, [*prompt, *text], len(prompt), top_k=4)
        found = group.sort("step", "layer")
        assert found["token_id"].gather_every(3).to_list() == text
        assert np.array_equal(np.array(found["neuron"].to_list()).reshape(expected.neuron.shape), expected.neuron)
        coefficient = np.array(found["coefficient"].to_list()).reshape(expected.coefficient.shape)
        assert coefficient == pytest.approx(expected.coefficient, rel=1e-3, abs=1e-5)


def test_nothing_is_read_again_unless_it_is_asked_for(tmp_path: Path, llama_folder: Path) -> None:
    run = run_pipeline(_config(llama_folder), tmp_path / "run", only="analyze")
    assert run.manifest.stages["reread"].status == "done"
    assert not run.manifest.stages["reread"].parts
    assert not (run.path / "reread").exists()


def test_a_second_try_goes_on_with_the_parts_that_are_missing(finished: Run, llama_folder: Path) -> None:
    parts = finished.part_paths("reread", "reread/")
    before = {part: part.read_bytes() for part in parts}
    parts[-1].unlink()
    stamps = {part: part.stat().st_mtime_ns for part in parts[:-1]}
    run_pipeline(_config(llama_folder, reread=True), finished.path, only="analyze")
    assert {part: part.read_bytes() for part in parts} == before
    assert {part: part.stat().st_mtime_ns for part in parts[:-1]} == stamps


def test_a_reference_that_is_no_variant_is_refused(tmp_path: Path, llama_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"analyze\.reference is 'mult_only'; it must be one of prompt\.variants"):
        run_pipeline(_config(llama_folder, reference="mult_only"), tmp_path / "run")
