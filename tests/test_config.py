import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from cotlens import config as config_module
from cotlens.config import (
    OPERATIONAL,
    GenerateConfig,
    ModelConfig,
    PromptConfig,
    RunConfig,
    default_study,
    differences,
    load_config,
)
from cotlens.errors import ConfigError

SECTIONS = {
    name: info.annotation for name, info in RunConfig.model_fields.items() if isinstance(info.default, BaseModel)
}


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("COTLENS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "run.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def _error(*args: object, **kwargs: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Defaults and their documentation.


def test_defaults_are_those_of_the_design():
    config = load_config()
    assert config == RunConfig()
    assert config.model.name == "smollm2-135m"
    assert config.problems.source == "mini"
    assert config.prompt.variants == ("cot", "equation_only", "text_only", "incorrect_label")
    assert config.prompt.shots == 8
    assert config.generate.max_new_tokens == 150
    assert config.generate.stop == ("\n\nQuestion:",)
    assert config.discover.top_k == 20
    assert config.project.top_n == 20
    assert config.project.norm == "none"
    assert config.label.judge == "lexicon"
    assert config.seed == 0


def test_the_demo_study_is_the_default_one_made_shorter_at_a_dose_that_hurts():
    changed = {line.split(":")[0] for line in differences(RunConfig(), default_study())}
    assert changed == {
        "problems.limit", "generate.max_new_tokens", "intervene.edits", "intervene.control_draws"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "field"),
    [("", name) for name in RunConfig.model_fields]
    + [(section, field) for section, model in SECTIONS.items() for field in model.model_fields],
)
def test_every_field_says_what_it_does(section, field):
    model = SECTIONS[section] if section else RunConfig
    description = model.model_fields[field].description
    assert description
    assert description.endswith(".")


@pytest.mark.parametrize("model", [RunConfig, *SECTIONS.values()])
def test_configs_are_frozen_and_refuse_unknown_keys(model):
    instance = model()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(instance, next(iter(model.model_fields)), None)
    with pytest.raises(ValidationError, match="Extra inputs"):
        model(no_such_key=1)


def test_all_section_models_are_public():
    assert {model.__name__ for model in SECTIONS.values()} <= set(config_module.__all__)


# The four sources.


def test_a_yaml_file_sets_what_it_names_and_leaves_the_rest(write):
    config = load_config(
        write("seed: 7\nmodel:\n  name: gpt2\n  dtype: bfloat16\nprompt:\n  variants: [cot]\n  shots: 4\n")
    )
    assert config.seed == 7
    assert config.model == ModelConfig(name="gpt2", dtype="bfloat16")
    assert config.prompt == PromptConfig(variants=("cot",), shots=4)
    assert config.generate == GenerateConfig()


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "{}", "\ufeff"])
def test_an_empty_file_means_the_defaults(write, text):
    assert load_config(write(text)) == RunConfig()


@pytest.mark.parametrize("text", ["model:\nseed: 3\n", "model: {}\nseed: 3\n", "model: null\nseed: 3\n"])
def test_an_empty_section_means_its_defaults(write, text):
    assert load_config(write(text)) == RunConfig(seed=3)


@pytest.mark.parametrize("text", ["\ufeffseed: 3\n", "seed: 3\r\nmodel:\r\n  name: smollm2-135m\r\n"])
def test_byte_order_mark_and_crlf_change_nothing(write, text):
    assert load_config(write(text)) == RunConfig(seed=3)


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("model.name=gpt2", "model", "name", "gpt2"),
        (" model.name =gpt2", "model", "name", "gpt2"),
        ("model.name=a=b", "model", "name", "a=b"),
        ("model.revision=null", "model", "revision", None),
        ("model.trust_remote_code=true", "model", "trust_remote_code", True),
        ("prompt.shots=3", "prompt", "shots", 3),
        ("prompt.variants=[cot, text_only]", "prompt", "variants", ("cot", "text_only")),
        ("generate.stop=[]", "generate", "stop", ()),
        ('generate.stop=["\\n\\nQ:"]', "generate", "stop", ("\n\nQ:",)),
        ("intervene.control_draws=7", "intervene", "control_draws", 7),
        ("problems.source=C:\\data", "problems", "source", "C:\\data"),
        ("problems.source=[not yaml", "problems", "source", "[not yaml"),
        ("discover={top_k: 5}", "discover", "top_k", 5),
    ],
)
def test_set_overrides_take_yaml_values(override, section, field, value):
    assert getattr(getattr(load_config(overrides=[override]), section), field) == value


def test_set_reaches_the_seed():
    assert load_config(overrides=["seed=9"]).seed == 9


def test_the_last_of_two_overrides_of_a_key_holds():
    assert load_config(overrides=["seed=1", "seed=2"]).seed == 2


def test_a_whole_section_in_set_keeps_what_the_file_says_of_other_keys(write):
    config = load_config(write("model: {dtype: bfloat16}"), ["model={name: gpt2}"])
    assert config.model == ModelConfig(name="gpt2", dtype="bfloat16")


@pytest.mark.parametrize("override", ["seed", "", "=3", " =3", "model.name"])
def test_an_override_without_key_or_value_says_how_to_write_it(override):
    assert _error(overrides=[override]) == f"--set {override!r}: write section.key=value"


def test_environment_sets_sections_and_the_seed(monkeypatch):
    monkeypatch.setenv("COTLENS_MODEL__DTYPE", "bfloat16")
    monkeypatch.setenv("COTLENS_GENERATE__MAX_NEW_TOKENS", "12")
    monkeypatch.setenv("COTLENS_PROMPT__VARIANTS", "[cot]")
    monkeypatch.setenv("COTLENS_DISCOVER", "{top_k: 5}")
    monkeypatch.setenv("COTLENS_SEED", "4")
    config = load_config()
    assert config.model.dtype == "bfloat16"
    assert config.generate.max_new_tokens == 12
    assert config.prompt.variants == ("cot",)
    assert config.discover.top_k == 5
    assert config.seed == 4


def test_a_whole_section_in_the_environment_keeps_the_other_keys_of_the_base(monkeypatch):
    monkeypatch.setenv("COTLENS_MODEL", "{name: gpt2}")
    config = load_config(base=RunConfig(model=ModelConfig(dtype="bfloat16")))
    assert config.model == ModelConfig(name="gpt2", dtype="bfloat16")


@pytest.mark.parametrize("name", ["COTLENS_CACHE_DIR", "COTLENS_JUDGE_KEY", "COTLENSMODEL__NAME", "MODEL__NAME"])
def test_other_environment_names_are_not_run_settings(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert load_config() == RunConfig()


def test_flags_set_dotted_keys_and_none_means_not_given():
    config = load_config(flags={"model.device": "cpu", "problems.limit": 3, "seed": None, "model.dtype": None})
    assert config.model.device == "cpu"
    assert config.problems.limit == 3
    assert config.seed == 0
    assert config.model.dtype == "float32"


def test_a_flag_of_zero_or_false_is_given():
    base = RunConfig(seed=5, model=ModelConfig(trust_remote_code=True))
    config = load_config(flags={"seed": 0, "model.trust_remote_code": False}, base=base)
    assert config.seed == 0
    assert config.model.trust_remote_code is False


@pytest.mark.parametrize("given", range(1, 32))
def test_precedence_is_flag_set_file_environment_default(write, monkeypatch, given):
    """Every combination of the five sources, each with a value of its own."""
    use = {name: bool(given >> place & 1) for place, name in enumerate(["base", "env", "file", "set", "flag"])}
    values = {"base": 11, "env": 12, "file": 13, "set": 14, "flag": 15}
    if use["env"]:
        monkeypatch.setenv("COTLENS_DISCOVER__TOP_K", "12")
        monkeypatch.setenv("COTLENS_SEED", "12")
    config = load_config(
        write("seed: 13\ndiscover: {top_k: 13}") if use["file"] else None,
        ["seed=14", "discover.top_k=14"] if use["set"] else [],
        {"seed": 15, "discover.top_k": 15} if use["flag"] else None,
        RunConfig(seed=11, discover={"top_k": 11}) if use["base"] else None,
    )
    strongest = values[[name for name, used in use.items() if used][-1]]
    assert config.seed == strongest
    assert config.discover.top_k == strongest


def test_sources_that_name_different_keys_of_a_section_add_up(write, monkeypatch):
    monkeypatch.setenv("COTLENS_MODEL__DTYPE", "float16")
    config = load_config(write("model: {name: gpt2}"), ["model.revision=main"], {"model.device": "cpu"})
    assert config.model == ModelConfig(name="gpt2", dtype="float16", revision="main", device="cpu")


def test_a_base_stands_in_for_the_defaults(write):
    config = load_config(write("seed: 3"), base=default_study())
    assert config == default_study().model_copy(update={"seed": 3})


# Mistakes.


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model: {nam: gpt2}", "unknown key 'model.nam'; did you mean 'model.name'?"),
        ("modle: {name: gpt2}", "unknown key 'modle'; did you mean 'model'?"),
        ("sead: 1", "unknown key 'sead'; did you mean 'seed'?"),
        ("discover: {topk: 5}", "unknown key 'discover.topk'; did you mean 'discover.top_k'?"),
        ("zzzzzzz: 1", "unknown key 'zzzzzzz'; known: analyze"),
        ("model: {name: {a: 1}}", "model.name: Input should be a valid string, got {'a': 1}"),
        ("prompt: {shots: 9}", "prompt.shots: Input should be less than or equal to 8, got 9"),
        ("prompt: {shots: -1}", "prompt.shots: Input should be greater than or equal to 0, got -1"),
        ("prompt: {shots: many}", "prompt.shots: Input should be a valid integer"),
        ("prompt: {variants: []}", "prompt: name at least one variant"),
        ("prompt: {variants: [cot, text_only, cot]}", "prompt: a variant is named twice"),
        ("prompt: {variants: [1]}", "prompt.variants.0: Input should be a valid string, got 1"),
        ("prompt: {variants: cot}", "prompt.variants: Input should be a valid tuple, got 'cot'"),
        ("generate: {max_new_tokens: 0}", "generate.max_new_tokens: Input should be greater than 0, got 0"),
        ("discover: {top_k: 0}", "discover.top_k: Input should be greater than 0, got 0"),
        ("discover: {ranker: best}", "discover.ranker: Input should be 'norm', 'signed', 'dla'"),
        ("model: {dtype: float8}", "model.dtype: Input should be 'float32', 'bfloat16' or 'float16', got 'float8'"),
        ("analyze: {confidence: 1}", "analyze.confidence: Input should be less than 1, got 1"),
        ("analyze: {confidence: .nan}", "analyze.confidence: "),
        ("intervene: {draws: 0}", "intervene.draws: Input should be greater than 0, got 0"),
        ("intervene: {sets: [all, all]}", "intervene.sets: 'all' is named twice"),
        ("intervene: {scopes: [sets]}", "intervene.scopes.0: Input should be 'set' or 'rest', got 'sets'"),
        ("intervene: {edits: [noise]}", "intervene.edits.0: Input should be a valid dictionary"),
        ("intervene: {edits: [{kind: nois}]}", "intervene.edits.0.kind: Input should be 'noise', 'zero', 'mean', "),
        ("intervene: {edits: [{kind: zero}, {kind: zero}]}", "intervene.edits: 'zero' is named twice"),
        ("intervene: {edits: [{kind: zero, dose: 1}]}", "intervene.edits.0: unknown key 'dose'; did you mean 'doses'?"),
        ("intervene: {edits: [{kind: scale}]}", "intervene.edits.0: scale needs doses, the factors"),
        ("intervene: {edits: [{kind: noise, doses: []}]}", "intervene.edits.0.doses: Tuple should have at least 1"),
        ("intervene: {edits: [{kind: noise, doses: [2, 2]}]}", "intervene.edits.0: a dose is named twice"),
        ("intervene: {edits: [{kind: noise, doses: [-1]}]}", "intervene.edits.0: the dose -1 of noise: give 0 or more"),
        ("intervene: {edits: [{kind: mean, doses: [1.5]}]}", "intervene.edits.0: the dose 1.5 of mean: give 0 to 1"),
        ("intervene: {edits: [{kind: noise, doses: [.inf]}]}", "intervene.edits.0.doses.0: Input should be a finite "),
        ("problems: {limit: 0}", "problems.limit: Input should be greater than 0, got 0"),
        ("seed: -1", "seed: Input should be greater than or equal to 0, got -1"),
        ("seed: {a: 1}", "seed.a: 'seed' has no keys of its own"),
        ("model: gpt2", "model: Input should be a valid dictionary or instance of ModelConfig, got 'gpt2'"),
    ],
)
def test_a_mistake_names_file_and_key_and_what_was_expected(write, text, complaint):
    path = write(text)
    assert _error(path).startswith(f"{path}: {complaint}")


def test_all_mistakes_are_reported_at_once(write):
    message = _error(write("sead: 1\nmodel: {nam: x, dtype: float8}\nprompt: {shots: 9}\ndiscover: {top_k: 0}\n"))
    for part in ["'sead'", "'model.nam'", "model.dtype", "prompt.shots", "discover.top_k"]:
        assert part in message


def test_a_mistake_names_the_source_that_made_it(write, monkeypatch):
    path = write("seed: -1\nprompt: {variants: [cot, cot]}")
    monkeypatch.setenv("COTLENS_MODEL__DTYPE", "float8")
    message = _error(path, ["discover.top_k=0", "modle.name=x"], {"problems.limit": -5})
    assert f"{path}: seed: " in message
    assert "; prompt: a variant is named twice" in message
    assert "environment: model.dtype: " in message
    assert "--set: discover.top_k: " in message
    assert "; unknown key 'modle'; did you mean 'model'?" in message
    assert "flag: problems.limit: " in message


def test_a_mistake_in_a_stronger_source_is_not_blamed_on_the_file(write):
    path = write("discover: {top_k: 5}")
    message = _error(path, ["discover.top_k=0"])
    assert message == "--set: discover.top_k: Input should be greater than 0, got 0"


def test_a_mistake_that_a_stronger_source_mends_is_none(write):
    assert load_config(write("discover: {top_k: 0}"), ["discover.top_k=5"]).discover.top_k == 5


def test_a_key_below_a_plain_value_in_set_names_its_source():
    assert _error(overrides=["seed.x=1"]) == "--set: seed.x: 'seed' has no keys of its own"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nmodel: {name: gpt2\n", 3),
        ("seed: 1\nmodel:\n  name: x\n bad: y\n", 4),
        ("seed: 1\nmodel:\n\tname: x\n", 3),
        ("seed: 'open\n", 2),
        ("a: b: c", 1),
        ("seed: *nowhere", 1),
    ],
)
def test_bad_yaml_names_file_and_line(write, text, line):
    path = write(text)
    assert _error(path).startswith(f"{path}, line {line}: not valid YAML: ")


def test_characters_that_yaml_forbids_are_one_line_of_error(write):
    path = write("seed: 1\0")
    assert _error(path).startswith(f"{path}: not valid YAML: ")


def test_yaml_never_makes_objects(write, tmp_path):
    victim = tmp_path / "made"
    message = _error(write(f"seed: !!python/object/apply:os.mkdir ['{victim}']"))
    assert "not valid YAML" in message
    assert not victim.exists()


@pytest.mark.parametrize(("text", "kind"), [("- seed", "list"), ("seed", "str"), ("7", "int")])
def test_a_file_without_sections_says_what_was_expected(write, text, kind):
    path = write(text)
    assert _error(path) == f"{path}: expected sections such as 'model:' and 'problems:', got {kind}"


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "nowhere.yaml"
    assert _error(path) == f"{path}: no such file"


def test_a_folder_is_named(tmp_path):
    assert _error(tmp_path) == f"{tmp_path}: a folder, not a file"


def test_a_path_below_a_file_is_named(write):
    path = write("seed: 1") / "below.yaml"
    assert _error(path).startswith(f"{path}: can't be read as UTF-8 text: ")


def test_a_file_that_is_no_text_is_named(write):
    path = write(b"seed: \xff\xfe")
    assert _error(path).startswith(f"{path}: can't be read as UTF-8 text: ")


# The URL of a completions server.


@pytest.mark.parametrize("url", ["http://h:8000", "http://h:8000/", "http://h:8000/v1", "http://h:8000/v1/"])
def test_one_server_has_one_url(url):
    assert GenerateConfig(server=url).server == "http://h:8000/v1"


def test_a_server_may_lie_below_a_path():
    assert GenerateConfig(server="https://host/api").server == "https://host/api/v1"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://h", "http://", "http://h?key=1", "http://h#x", "http://h:port", "http://[::1"]
)
def test_what_is_no_url_of_a_server_is_refused(url):
    assert _error(overrides=[f"generate.server='{url}'"]).startswith("--set: generate.server: ")


@pytest.mark.parametrize("override", ["generate.server", "generate", "generate.batch_size"])
def test_a_password_in_a_url_is_not_shown(override):
    message = _error(overrides=[f"{override}=http://me:pa/ss@wo.rd@host"])
    assert "://***@host" in message
    assert "pa/ss" not in message
    assert "wo.rd" not in message


# Comparing two configurations.


def test_equal_configurations_do_not_differ():
    assert differences(RunConfig(), RunConfig()) == []


def test_differences_name_key_old_and_new_in_order_of_keys():
    new = load_config(overrides=["seed=1", "prompt.variants=[cot]", "model.name=gpt2", "problems.limit=5"])
    assert differences(RunConfig(), new) == [
        "model.name: 'smollm2-135m' -> 'gpt2'",
        "problems.limit: None -> 5",
        "prompt.variants: ['cot', 'equation_only', 'text_only', 'incorrect_label'] -> ['cot']",
        "seed: 0 -> 1",
    ]


@pytest.mark.parametrize("override", ["model.device=cpu", "generate.batch_size=3"])
def test_how_a_run_is_carried_out_is_no_difference(override):
    assert differences(RunConfig(), load_config(overrides=[override])) == []
    assert override.split("=")[0] in OPERATIONAL


def test_operational_keys_are_keys():
    for key in OPERATIONAL:
        section, field = key.split(".")
        assert field in SECTIONS[section].model_fields


@pytest.mark.parametrize(
    "override",
    [
        "model.dtype=bfloat16",
        "generate.part_size=3",
        "generate.server=http://h/v1",
        "discover.top_k=3",
        "label.judge=x",
        "intervene.draws=2",
    ],
)
def test_what_a_run_computes_is_a_difference(override):
    key = override.split("=")[0]
    (line,) = differences(RunConfig(), load_config(overrides=[override]))
    assert line.startswith(f"{key}: ")


def test_the_order_of_variants_is_a_difference():
    new = load_config(overrides=["prompt.variants=[equation_only, cot, text_only, incorrect_label]"])
    assert len(differences(RunConfig(), new)) == 1


def test_a_configuration_survives_json():
    config = default_study()
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
