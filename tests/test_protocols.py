"""Protocols: preset files beneath a user's own settings."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotlens.config import DiscoverConfig, RunConfig, default_study, load_config
from cotlens.errors import ConfigError
from cotlens.pipeline import run_pipeline, validate
from cotlens.protocols import PROTOCOLS, protocol_settings, protocol_text
from cotlens.store import open_run

ROOT = Path(__file__).parents[1]
PUBLISHED = load_config(flags={"protocol": "rai-yao-2024"})


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


def _keys(settings: dict[str, Any]) -> set[str]:
    return {f"{section}.{key}" for section, values in settings.items() for key in values}


def test_the_default_protocol_is_the_defaults() -> None:
    assert RunConfig.model_validate(protocol_settings("default")) == RunConfig() == load_config()


def test_the_default_protocol_says_nothing_that_its_file_does_not() -> None:
    dumped = RunConfig().model_dump(mode="json")
    stated = protocol_settings("default")
    for section, values in stated.items():
        assert values == {key: dumped[section][key] for key in values}


def test_all_protocols_name_the_same_settings_in_the_same_order() -> None:
    [first, *others] = (json.dumps(_shape(protocol_settings(name))) for name in PROTOCOLS)
    assert all(other == first for other in others)


def _shape(settings: dict[str, Any]) -> dict[str, list[str]]:
    return {section: list(values) for section, values in settings.items()}


def test_every_file_is_a_protocol_and_every_protocol_has_a_file() -> None:
    assert {file.stem for file in (ROOT / "src/cotlens/protocols").glob("*.yaml")} == set(PROTOCOLS)


def test_the_published_choices() -> None:
    assert PUBLISHED.discover.model_dump() == {
        "top_k": 20, "ranker": "norm", "questions": "correct", "sample": 20, "sample_seed": 42, "logit_lens": 0,
    }  # fmt: skip
    assert len(PUBLISHED.prompt.variants) == 7
    assert (PUBLISHED.generate.max_new_tokens, PUBLISHED.generate.stop) == (150, ())
    assert not PUBLISHED.generate.stop_at_end
    assert (PUBLISHED.project.top_n, PUBLISHED.project.norm) == (20, "none")
    assert (PUBLISHED.label.min_layer, PUBLISHED.label.min_seeds) == (6, 2)
    assert (PUBLISHED.label.mode, PUBLISHED.label.judge) == ("concepts", "openai/gpt-4")
    [edit] = PUBLISHED.intervene.edits
    assert (edit.kind, PUBLISHED.intervene.draws, PUBLISHED.intervene.control_draws) == ("noise", 1, 1)
    assert len(validate(PUBLISHED)) >= 200


def test_a_protocol_leaves_model_and_problems_alone() -> None:
    for name in PROTOCOLS:
        assert not {"model", "problems", "seed"} & set(protocol_settings(name))


@pytest.mark.parametrize("source", ["flag", "set", "file", "environment"])
def test_a_protocol_is_named_by_any_source_and_lies_beneath_all(write, monkeypatch, source: str) -> None:
    text = "discover: {top_k: 7}"
    if source == "file":
        text = f"protocol: rai-yao-2024\n{text}"
    if source == "environment":
        monkeypatch.setenv("COTLENS_PROTOCOL", "rai-yao-2024")
    monkeypatch.setenv("COTLENS_PROJECT__TOP_N", "9")
    config = load_config(
        write(text),
        ["label.judge=lexicon", *(["protocol=rai-yao-2024"] if source == "set" else [])],
        {"problems.limit": 3, "protocol": "rai-yao-2024" if source == "flag" else None},
    )
    assert config.protocol == "rai-yao-2024"
    assert (config.discover.top_k, config.project.top_n, config.label.judge) == (7, 9, "lexicon")
    assert config.problems.limit == 3
    assert config.discover.sample == 20, "what nobody else says, the protocol says"
    assert config.discover.questions == "correct"


def test_the_strongest_source_names_the_protocol(write) -> None:
    file = write("protocol: rai-yao-2024")
    assert load_config(file, flags={"protocol": "default"}) == RunConfig()
    assert load_config(file, ["protocol=default"]) == RunConfig()
    assert load_config(file, flags={"protocol": None}) == PUBLISHED


def test_in_python_a_config_takes_a_protocol_beneath_its_own_values() -> None:
    assert RunConfig(protocol="rai-yao-2024") == PUBLISHED
    config = RunConfig(protocol="rai-yao-2024", discover=DiscoverConfig(top_k=3), label={"judge": "lexicon"}, seed=4)
    assert (config.discover.top_k, config.discover.sample, config.seed) == (3, 20, 4)
    assert (config.label.judge, config.label.min_layer) == ("lexicon", 6)


def test_a_config_that_was_written_down_is_read_as_it_is() -> None:
    changed = load_config(overrides=["discover.sample=null", "label.min_layer=null", "protocol=rai-yao-2024"])
    assert changed.discover.sample is None
    assert RunConfig.model_validate_json(changed.model_dump_json()) == changed


@pytest.mark.parametrize("name", ["rai-yao", "[default]", "null"])
def test_an_unknown_protocol_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set: protocol: "):
        load_config(overrides=[f"protocol={name}"])


def test_a_misspelt_protocol_is_told_the_name() -> None:
    with pytest.raises(ConfigError, match=r"flag: protocol: no such protocol; did you mean 'rai-yao-2024'\?"):
        load_config(flags={"protocol": "rai-yao-2023"})
    with pytest.raises(ConfigError, match=r"protocol 'rai-yao-2023' is not known; did you mean 'rai-yao-2024'\?"):
        protocol_text("rai-yao-2023")


def test_where_a_protocol_is_settled_it_can_not_be_changed() -> None:
    with pytest.raises(ConfigError, match=r"--set: protocol is 'default' here and can't be changed"):
        load_config(overrides=["protocol=rai-yao-2024"], base=default_study())
    assert load_config(overrides=["discover.top_k=3"], base=PUBLISHED).discover.sample == 20


def cotlens(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cotlens.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)


def test_validate_takes_a_protocol_without_a_file(tmp_path: Path) -> None:
    done = cotlens("validate", "--protocol", "rai-yao-2024", "--set", "problems.limit=5", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "protocol rai-yao-2024: valid; smollm2-135m, 5 problems x 7 variants\n"


def test_validate_takes_a_protocol_with_a_file_and_refuses_one_with_a_run(write, tmp_path: Path) -> None:
    done = cotlens("validate", write("problems: {limit: 4}"), "--protocol", "rai-yao-2024", folder=tmp_path)
    assert done.stdout.endswith("run.yaml: valid; smollm2-135m, 4 problems x 7 variants\n")
    done = cotlens("validate", tmp_path, "--protocol", "default", folder=tmp_path)
    assert done.returncode == 2
    assert "a run has its protocol already; leave --protocol out" in done.stderr


def test_validate_without_anything_says_what_it_needs(tmp_path: Path) -> None:
    done = cotlens("validate", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "cotlens: name a YAML run file or a run directory, or a protocol with --protocol\n"


def test_protocols_are_listed_and_printed(tmp_path: Path) -> None:
    done = cotlens("protocols", folder=tmp_path)
    assert all(name in done.stdout for name in PROTOCOLS)
    assert cotlens("protocols", "rai-yao-2024", folder=tmp_path).stdout == protocol_text("rai-yao-2024")
    assert json.loads(cotlens("protocols", "default", "--json", folder=tmp_path).stdout) == protocol_settings("default")
    done = cotlens("protocols", "defualt", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "cotlens: protocol 'defualt' is not known; did you mean 'default'?\n",
    )


def test_a_whole_run_under_the_published_protocol(llama_folder: Path, tmp_path: Path) -> None:
    """Two of its seven variants, on a tiny model: what is written, and that the manifest names the protocol."""
    small = {
        "model": {"name": str(llama_folder), "device": "cpu"},
        "problems": {"limit": 3},
        "prompt": {"variants": ["cot", "equation_only"], "shots": 1},
        "generate": {"max_new_tokens": 6},
        "discover": {"questions": "all", "sample": 2},  # a random model answers nothing right
        "label": {"judge": "lexicon", "min_layer": 0},
        "analyze": {"bootstrap": 20, "permutations": 20, "control_draws": 2},
    }
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(small))
    run_pipeline(load_config(file, flags={"protocol": "rai-yao-2024"}), tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["config"]["protocol"] == "rai-yao-2024"
    run = open_run(tmp_path / "run")
    assert run.is_done("report")
    assert "rai-yao-2024" in (run.path / "report.html").read_text()
    steps = run.completions()["token_ids"].list.len() - run.completions()["prompt_length"]
    assert set(steps) == {6}
    assert run.activations().select("variant", "question_id").n_unique() == 4


# The documentation.


def test_the_page_names_every_setting_of_the_published_protocol() -> None:
    page = (ROOT / "docs/protocols.md").read_text()
    published, default = protocol_settings("rai-yao-2024"), protocol_settings("default")
    differing = {
        f"{section}.{key}"
        for section, values in published.items()
        for key, value in values.items()
        if default[section][key] != value
    }
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)[`=]", page))
    assert differing <= named, differing - named
    real = _keys({name: section for name, section in RunConfig().model_dump().items() if isinstance(section, dict)})
    assert named - real == {"config.protocol", "manifest.json"}, "no setting is invented"
