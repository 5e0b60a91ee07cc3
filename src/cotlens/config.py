"""What a run does: one model per stage, all fields documented, unknown keys refused.

A run file is YAML with the fields of `RunConfig`; each section may be left out. Precedence, strongest first:
command-line flag, ``--set section.key=value``, the file, environment ``COTLENS_SECTION__KEY``, the protocol, which is
the defaults unless another is named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from cotlens.credentials import clean_url, redact
from cotlens.errors import ConfigError, near_match
from cotlens.files import parse_yaml, read_text
from cotlens.protocols import PROTOCOLS, protocol_settings
from cotlens.redaction import hide_user_info

__all__ = [
    "LABEL_OPERATIONAL",
    "AnalyzeConfig",
    "DiscoverConfig",
    "EditConfig",
    "FieldMapping",
    "GenerateConfig",
    "InterveneConfig",
    "LabelConfig",
    "ModelConfig",
    "ProblemsConfig",
    "ProjectConfig",
    "PromptConfig",
    "RunConfig",
    "default_study",
    "differences",
    "load_config",
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class _Nested(_Section):
    """What stands within a section; an unknown key in it is told by its own name."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, given: Any) -> Any:
        unknown = [key for key in given if key not in cls.model_fields] if isinstance(given, Mapping) else []
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}{near_match(str(unknown[0]), cls.model_fields)}")
        return given


class ModelConfig(_Section):
    name: str = "smollm2-135m"
    """``smollm2-135m`` (embedded), a hub id, a folder with a Hugging Face or a Meta checkpoint, or a ``.gguf`` file.
    Paper: Llama2-7B."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and activations."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``auto``: the first accelerator, else the CPU; or ``sharded``: over all
    accelerators, for a model that one can't hold."""
    trust_remote_code: bool = False
    """Run Python code that a checkpoint brings along (``auto_map``). Off; recorded when on."""


_Column = Annotated[str, Field(min_length=1)]


class FieldMapping(_Nested):
    """Which columns of a file of problems hold what."""

    question: _Column | Annotated[tuple[_Column, ...], Field(min_length=1)]
    """The question's column, or several whose texts are joined by a space."""
    answer: _Column
    """A number, a number with its unit as in ``9 (apples)``, or text that ends in ``#### NUMBER``."""
    id: _Column | None = None
    """Text or whole numbers, each once; when absent an id is made from the question."""
    solution: _Column | None = None
    """Worked solution or formula; when absent, what stands before ``####`` in the answer."""


class ProblemsConfig(_Section):
    source: str = "mini"
    """``mini`` (bundled); ``gsm8k``, ``svamp``, ``asdiv`` or ``multiarith`` (from the hub, with the extra ``data``); or
    the path of a ``.jsonl``, ``.json``, ``.csv`` or ``.parquet`` file. Paper: GSM8K."""
    split: str = "test"
    """Split of a hub source."""
    revision: str | None = None
    """Branch, tag or commit of a hub source; the newest when absent."""
    fields: FieldMapping | None = None
    """Columns of a local file; ``question`` and ``answer`` when absent."""
    min_steps: PositiveInt | None = None
    """Keep problems whose worked solution has at least so many equations."""
    max_steps: PositiveInt | None = None
    """Keep problems whose worked solution has at most so many equations."""
    operators: tuple[Literal["+", "-", "*", "/"], ...] = ()
    """Keep problems whose worked solution uses operators, and none but these; no filter when empty."""
    seed: int | None = Field(default=None, ge=0)
    """Put the problems in an order drawn at random with this seed, before `limit`; the file's order when absent."""
    limit: PositiveInt | None = None
    """Use the first so many of the problems that are left; all when absent."""

    @model_validator(mode="after")
    def _steps_in_order(self) -> Self:
        if self.min_steps and self.max_steps and self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        return self


class PromptConfig(_Section):
    variants: tuple[str, ...] = ("cot", "equation_only", "text_only", "incorrect_label")
    """Rewritings of the few-shot prompt to run, each by its name or as ``file:PATH``; see ``cotlens prompts``."""
    shots: int = Field(default=8, ge=0, le=8)
    """Number of demonstrations before the question. Paper: 8."""
    demonstrations: str = "everyday"
    """``everyday``, ``workshop`` or ``journey`` (bundled), or a YAML file of your own."""
    order_seed: int | None = Field(default=None, ge=0)
    """Shuffles the demonstrations; the set's order when absent."""
    chat: bool = False
    """Put the prompt through the tokenizer's chat template. Paper: no."""
    chat_layout: Literal["turns", "message"] = "turns"
    """Demonstrations as ``turns`` of user and assistant, or everything in one ``message`` of the user."""

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        if not self.variants:
            raise ValueError("name at least one variant")
        if len(set(self.variants)) != len(self.variants):
            raise ValueError("a variant is named twice")
        return self


class GenerateConfig(_Section):
    max_new_tokens: PositiveInt = 150
    """Longest completion, in tokens. Paper: 150, without stopping earlier."""
    stop: tuple[str, ...] = ("\n\nQuestion:",)
    """Texts that end a completion; ``[]`` for none. Paper: none."""
    stop_at_end: bool = True
    """A completion ends at the model's end token. If not, generation goes on to `max_new_tokens` and what comes after
    the end is read by discovery, but not graded. Paper: no."""
    answer_tokens: PositiveInt = 24
    """Longest second completion, which states the answer of a zero-shot one."""
    too_long: Literal["error", "skip"] = "error"
    """What to do if a prompt and its completion may exceed the model's context: stop before anything is generated, or
    leave that question out, under every variant. Nothing is ever cut."""
    batch_size: PositiveInt | None = None
    """Questions per forward pass; when absent, chosen from free memory and by a short timing. Changes speed, not
    results. With `server`, requests at a time, 16 when absent."""
    part_size: PositiveInt = 64
    """Questions per stored part, which is the most that a crash can cost."""
    server: str | None = None
    """URL of a running OpenAI-compatible completions server with the very weights of `model`, such as
    ``http://localhost:8000``: the questions are answered there. When absent the model answers here."""
    server_model: str | None = None
    """The model's name on the server; when absent, the only one that it offers."""

    @field_validator("server")
    @classmethod
    def _plain_url(cls, given: str | None) -> str | None:
        """The URL down to ``/v1``, without anything that could be a secret."""
        if given is None:
            return None
        if "@" in given:
            raise ValueError("a URL with user or password is not taken; give the API key as COTLENS_GENERATOR_KEY")
        parts = urlsplit(given)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not plain or parts.query or parts.fragment:
            raise ValueError("write http://HOST:PORT or https://HOST, and no more than a path behind it")
        url = given.rstrip("/")
        return url if url.endswith("/v1") else f"{url}/v1"

    @model_validator(mode="after")
    def _servers_stop_at_the_end(self) -> Self:
        if self.server is not None and not self.stop_at_end:
            raise ValueError("a server ends a completion at the end token; with stop_at_end false leave server out")
        return self


class DiscoverConfig(_Section):
    top_k: PositiveInt = 20
    """Neurons recorded per layer and step. Paper: 10 in the text, 20 in the code."""
    ranker: Literal["norm", "signed", "dla", "logprob", "grad"] = "norm"
    """What a neuron's score is. ``norm``: ``|m| * ||v||`` (the paper's). ``signed``: ``m * ||v||``. ``dla``: its own
    part in the logit of the token generated. ``logprob``: by how much it raises that token's log-probability; some
    seconds per token. ``grad``: coefficient times gradient of that logit; a backward pass per completion."""
    questions: Literal["all", "correct"] = "all"
    """``all``: every question under every variant, so that variants are compared on the same questions.
    ``correct``: only completions with the right answer, as in the paper."""
    sample: PositiveInt | None = None
    """Record so many of these completions under each variant, drawn at random; all when absent. Paper: 20."""
    sample_seed: int = Field(default=0, ge=0)
    """Seed of that draw. It depends on the questions' ids alone, so variants share as many questions as they can.
    Paper: 42."""
    logit_lens: int = Field(default=0, ge=0)
    """Also record, for each step, the so many likeliest tokens after every layer, if it were the last; none when 0.
    Takes a product with the unembedding for each layer, which on a small model is several times the forward pass."""


class ProjectConfig(_Section):
    top_n: PositiveInt = 20
    """Tokens kept at each end of a neuron's vocabulary projection. Paper: 20, promoted end only."""
    norm: Literal["none", "gamma"] = "none"
    """``none``: ``W_U v`` (the paper's). ``gamma``: the final norm's gain is folded in."""
    neurons: Literal["discovered", "all"] = "discovered"
    """Which neurons to project."""
    similar: int = Field(default=10, ge=0)
    """How many neurons with the most similar value vectors are told for each; none when 0. Where more than 50,000 are
    projected, each is compared with those active most often."""


class LabelConfig(_Section):
    mode: Literal["concepts", "open"] = "concepts"
    """``concepts``: the judge is asked about each concept. ``open``: it names the concept itself, and names are
    merged."""
    judge: str = "lexicon"
    """Who decides whether a neuron's tokens carry a concept: ``lexicon`` (word lists, offline), ``openai/MODEL``,
    ``azure/DEPLOYMENT``, ``anthropic/MODEL``, ``hf/MODEL`` (on this machine) or ``mock/FILE``. Paper: GPT-4."""
    second_judges: tuple[str, ...] = ()
    """Judges that are asked the same questions. They decide nothing; their agreement with the first is reported."""
    concepts: str | None = None
    """YAML file of concepts; the paper's seven when absent."""
    min_seeds: PositiveInt = 2
    """Distinct seed words among a neuron's tokens before it is judged. Paper: more than one."""
    min_layer: int | None = Field(default=None, ge=0)
    """Lowest layer that is labelled; when absent the paper's share, 6 of 32 layers, rounded."""
    show: Literal["active", "both"] = "active"
    """``active``: the judge sees the tokens that the neuron promotes with the sign it was active with. ``both``: also
    those that it suppresses."""
    open_neurons: PositiveInt = 200
    """In the mode ``open``: how many neurons are judged, those active most often."""
    random_controls: int = Field(default=100, ge=0)
    """Questions about random neurons that are mixed in; a yes is a false positive. In the mode ``open``: how many are
    named, to compare with."""
    shuffled_controls: int = Field(default=100, ge=0)
    """Questions about the judged neurons' own tokens dealt anew; a yes is a false positive."""
    retests: int = Field(default=50, ge=0)
    """Questions that are asked twice."""
    detection: int = Field(default=0, ge=0)
    """Labels that are checked by texts: can the judge tell where the neuron is active? None when 0."""
    detection_contexts: PositiveInt = 5
    """Texts with the neuron active, and as many without, for each checked label."""
    prompt_version: PositiveInt = 1
    """Version of the texts that a judge reads."""
    base_url: str | dict[str, str] | None = None
    """URL of the judge's server, such as ``http://localhost:8000/v1``; or a map from judges to URLs, where they are of
    several providers. Azure: the endpoint. A user name and password in it are used and not stored."""
    api_version: str | None = None
    """Azure's API version; ``OPENAI_API_VERSION`` when absent."""
    local_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of a judge on this machine (``hf/MODEL``); that of the studied model when absent."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Of a judge behind a server. Left out, and recorded so, where the model takes none."""
    max_reply_tokens: PositiveInt = 300
    """Longest reply, in tokens. Models that reason before they answer need a few thousand."""
    concurrency: PositiveInt = 8
    """Questions put to a server at once."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest silence of a server within a call."""
    deadline_s: float = Field(default=600.0, gt=0)
    """Longest time for a call, from connecting to the last byte of the reply, however steadily that trickles in."""
    max_attempts: PositiveInt = 6
    """Calls for one question when a server is busy or breaks off."""
    max_wait_s: float = Field(default=300.0, ge=0)
    """Longest wait that a busy server may ask for; beyond it the run stops and can be resumed."""
    max_cost_usd: float | None = Field(default=None, ge=0)
    """Most that the judges may cost in this run, all tries together; reserved before each call."""
    max_calls: int | None = Field(default=None, ge=0)
    """Most calls to the judges' servers in this run, all tries together."""
    price_in_usd: float | None = Field(default=None, ge=0)
    """What a million tokens of question cost; the list price when absent."""
    price_out_usd: float | None = Field(default=None, ge=0)
    """What a million tokens of reply cost; the list price when absent."""

    @property
    def judges(self) -> tuple[str, ...]:
        """The judge that decides, then the others."""
        return (self.judge, *self.second_judges)

    @field_validator("base_url")
    @classmethod
    def _without_passwords(cls, given: str | dict[str, str] | None) -> str | dict[str, str] | None:
        if isinstance(given, dict):
            return {judge: clean_url(url) for judge, url in given.items()}
        return given if given is None else clean_url(given)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.judges)) != len(self.judges):
            raise ValueError("a judge is named twice")
        if (self.price_in_usd is None) != (self.price_out_usd is None):
            raise ValueError("give the prices of both tokens in and tokens out")
        return self


class AnalyzeConfig(_Section):
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of every interval."""
    bootstrap: PositiveInt = 2000
    """Resamples of questions behind each bootstrap interval."""
    permutations: PositiveInt = 9999
    """Random sign flips behind each p-value of a paired comparison; with few questions all flips are gone through."""
    control_draws: PositiveInt = 20
    """Random neuron sets that stand beside each concept."""
    reference: str | None = None
    """The variant that the others are compared with; when absent ``cot``, or the first in a run without it."""
    reread: bool = False
    """Read the reference's completions after every variant's prompt too, so that what the prompt does and what the text
    does come apart. Takes as long as discovery."""

    def reference_of(self, variants: Sequence[str]) -> str:
        """The variant of reference among ``variants``."""
        return self.reference or ("cot" if "cot" in variants else variants[0])


class EditConfig(_Nested):
    """One kind of edit, at one dose or several."""

    kind: Literal["noise", "zero", "mean", "resample", "scale"]
    """``noise``: Gaussian noise on the value vectors. ``zero``: the neurons write nothing. ``mean``: their coefficients
    are replaced by their means over the reference text. ``resample``: by those of one token drawn from it. ``scale``:
    what they write is multiplied. Paper: noise."""
    doses: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0,)
    """Each is a condition of its own. ``noise``: standard deviation relative to the root mean square of each value
    vector's entries. ``zero``, ``mean``, ``resample``: the share of the way, 0 to 1. ``scale``: the factor, to be
    given."""

    @model_validator(mode="after")
    def _doses_of_the_kind(self) -> Self:
        if self.kind == "scale" and "doses" not in self.model_fields_set:
            raise ValueError("scale needs doses, the factors; 1 changes nothing")
        if len(set(self.doses)) != len(self.doses):
            raise ValueError("a dose is named twice")
        most = {"noise": float("inf"), "scale": float("inf")}.get(self.kind, 1.0)
        for dose in self.doses if self.kind != "scale" else ():
            if not 0 <= dose <= most:
                raise ValueError(f"the dose {dose:g} of {self.kind}: give 0 {'or more' if most > 1 else 'to 1'}")
        return self


class InterveneConfig(_Section):
    variant: str = "cot"
    """The prompt variant under which the model is tested."""
    questions: Literal["all", "correct"] = "all"
    """``correct``: only those that the untouched model answers right, whose accuracy can then only fall."""
    sets: tuple[str, ...] = ("reasoning",)
    """The neurons to edit, each set on its own: ``reasoning``, all that the judge confirmed; ``concept:ID``;
    ``concepts``, each of them; ``top:N``, the N with the largest summed score, or ``top:N:RANKER``; ``list:PATH``, a
    file with one ``L12N345`` a line; ``all``, every discovered neuron. ``reasoning@6-11`` keeps to a band of layers."""
    scopes: tuple[Literal["set", "rest"], ...] = ("set",)
    """``set``: the members are edited. ``rest``: every discovered neuron in the layers concerned but the members is,
    which asks whether the set suffices."""
    edits: tuple[EditConfig, ...] = (EditConfig(kind="noise"),)
    """What is done to them, each kind at each of its doses."""
    draws: PositiveInt = 3
    """Draws of ``noise`` and of ``resample`` for each set; the other kinds leave nothing to chance."""
    control_draws: int = Field(default=20, ge=0)
    """Random sets for each set, matched in layers, value norm, score and activity. With n of them no p-value falls
    below 1 / (n + 1). Paper: 1."""
    reference: str = "bundled"
    """Text for ``mean`` and ``resample``: ``bundled``, plain prose without arithmetic, or the path of a text file."""
    specificity: bool = True
    """Under every edit, also read plain text and answer questions without arithmetic."""

    @field_validator("sets", "scopes", "edits")
    @classmethod
    def _no_repeats(cls, given: tuple[str | EditConfig, ...]) -> tuple[str | EditConfig, ...]:
        names = [entry.kind if isinstance(entry, EditConfig) else entry for entry in given]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"{repeated[0]!r} is named twice")
        return given


class RunConfig(_Section):
    """A whole run."""

    protocol: str = "default"
    """``default`` or ``rai-yao-2024``: the choices that hold where nothing else is said; see ``cotlens protocols``."""
    seed: int = Field(default=0, ge=0)
    """Source of every random choice: controls, noise, resamples."""
    model: ModelConfig = ModelConfig()
    """The language model, and how it is loaded."""
    problems: ProblemsConfig = ProblemsConfig()
    """The questions."""
    prompt: PromptConfig = PromptConfig()
    """The few-shot prompts."""
    generate: GenerateConfig = GenerateConfig()
    """How the model answers."""
    discover: DiscoverConfig = DiscoverConfig()
    """Which neurons count as active."""
    project: ProjectConfig = ProjectConfig()
    """The tokens that each neuron promotes and suppresses."""
    label: LabelConfig = LabelConfig()
    """The concepts that neurons carry, and who judges that."""
    analyze: AnalyzeConfig = AnalyzeConfig()
    """Intervals and controls of the statistics."""
    intervene: InterveneConfig = InterveneConfig()
    """What is done to sets of neurons, and to random ones that match them."""

    @model_validator(mode="before")
    @classmethod
    def _beneath_comes_the_protocol(cls, given: Any) -> Any:
        """What a section does not say, the protocol says; the default one says the fields' own defaults."""
        name = given.get("protocol", "default") if isinstance(given, Mapping) else "default"
        if name == "default" or name not in tuple(PROTOCOLS):
            return given
        return dict(given) | {
            section: _over(settings, given.get(section)) for section, settings in protocol_settings(name).items()
        }

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, given: str) -> str:
        if given not in PROTOCOLS:
            raise ValueError(f"no such protocol{near_match(given, PROTOCOLS)}")
        return given


def _over(settings: Mapping[str, Any], section: object) -> Any:
    """``settings`` with what ``section`` says over them; something that is no section is left for validation."""
    if isinstance(section, BaseModel):
        section = section.model_dump(exclude_unset=True)
    if section is None:
        return settings
    return dict(settings) | dict(section) if isinstance(section, Mapping) else section


def default_study() -> RunConfig:
    """What ``cotlens demo`` runs: the embedded model on bundled problems, in minutes on two CPU cores."""
    # At a dose of 1 nothing happens to this model, at 4 nothing is left of it, whichever neurons are corrupted.
    return RunConfig(
        problems=ProblemsConfig(limit=60),
        generate=GenerateConfig(max_new_tokens=100),
        intervene=InterveneConfig(edits=(EditConfig(kind="noise", doses=(2.0,)),), control_draws=5),
    )


#: How a run is carried out, not what it computes; these may differ when a run is resumed.
LABEL_OPERATIONAL = frozenset(
    "concurrency timeout_s deadline_s max_attempts max_wait_s max_cost_usd max_calls price_in_usd price_out_usd".split()
)
OPERATIONAL = frozenset({"model.device", "generate.batch_size"}) | {f"label.{key}" for key in LABEL_OPERATIONAL}


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    base: RunConfig | None = None,
) -> RunConfig:
    """Merge protocol, environment, file, ``--set`` overrides and flags, weakest first, and validate once.

    Args:
        path: YAML run file.
        overrides: ``section.key=value`` with a YAML value.
        flags: dotted key to value; None values are skipped.
        base: what stands in for the defaults, under a protocol that is settled.

    Raises:
        ConfigError: listing every mistake, with the nearest known key for a misspelt one.
    """
    sources: list[tuple[str, Mapping[str, object]]] = [("environment", _environment())]
    if path is not None:
        sources.append((str(path), _flatten(_read_yaml(path))))
    sources.append(("--set", _flatten(dict(_parse_override(text) for text in overrides))))
    sources.append(("flag", {key: value for key, value in (flags or {}).items() if value is not None}))
    merged = (base or _protocol_of(sources)).model_dump()
    origins: dict[str, str] = {}
    for source, values in sources:
        for key, value in values.items():
            _assign(merged, key, value, source)
            origins[key] = source
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(error, origins))) from None
    if base is not None and config.protocol != base.protocol:
        raise ConfigError(
            f"{origins['protocol']}: protocol is {base.protocol!r} here and can't be changed; name another with "
            "`cotlens run CONFIG --protocol NAME`"
        )
    return config


def _protocol_of(sources: Sequence[tuple[str, Mapping[str, object]]]) -> RunConfig:
    """The protocol that the strongest source names, or the default one; a wrong name is left for validation."""
    named = [values["protocol"] for _, values in sources if "protocol" in values]
    name = named[-1] if named else "default"
    return RunConfig(protocol=str(name)) if name in tuple(PROTOCOLS) else RunConfig()


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """The fields in which two configurations differ, operational ones left out, as ``key: old -> new``."""
    before, after = _flatten(old.model_dump(mode="json")), _flatten(new.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key not in OPERATIONAL
    ]


def _read_yaml(path: Path) -> Mapping[str, object]:
    data = parse_yaml(read_text(path, ConfigError), str(path), ConfigError)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected sections such as 'model:' and 'problems:', got {type(data).__name__}")
    return {str(key): value for key, value in data.items()}


def _environment() -> dict[str, object]:
    """``COTLENS_MODEL__DTYPE=bfloat16`` sets ``model.dtype``; other ``COTLENS_`` names are no settings."""
    known = set(RunConfig.model_fields)
    found: dict[str, object] = {}
    for name, text in os.environ.items():
        key = name.removeprefix("COTLENS_").lower().replace("__", ".")
        if name.startswith("COTLENS_") and key.partition(".")[0] in known:
            found[key] = _yaml_value(text)
    return _flatten(found)


def _parse_override(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: write section.key=value")
    return key.strip(), _yaml_value(value)


def _yaml_value(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _flatten(data: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and not prefix and "." not in key:
            flat |= _flatten(value, prefix=f"{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _assign(target: dict[str, Any], dotted: str, value: object, source: str) -> None:
    section, _, key = dotted.partition(".")
    if key and isinstance(target.get(section), dict):
        target[section][key] = value
    elif key and section not in target:
        target[section] = {key: value}
    elif not key:
        # An empty section in YAML reads as None and means the defaults.
        if not (value is None and isinstance(target.get(section), dict)):
            target[section] = value
    else:
        raise ConfigError(f"{source}: {dotted}: {section!r} has no keys of its own")


def _explain(error: ValidationError, origins: dict[str, str]) -> list[str]:
    """One text per source of mistakes, with all its mistakes."""
    mistakes: dict[str, list[str]] = {}
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            text = f"unknown key {place!r}{near_match(place, _known_keys())}"
        else:
            text = f"{place}: {item['msg'].removeprefix('Value error, ')}, got {hide_user_info(repr(item['input']))}"
        mistakes.setdefault(_origin(place, origins), []).append(text)
    return [redact(f"{source}: {'; '.join(texts)}") for source, texts in mistakes.items()]


def _origin(place: str, origins: dict[str, str]) -> str:
    """The strongest source that set ``place``, something within it, or what it lies within."""
    within = f"{place}."
    return next(
        source for key, source in reversed(origins.items()) if within.startswith(f"{key}.") or key.startswith(within)
    )


def _known_keys() -> list[str]:
    return list(_flatten(RunConfig().model_dump())) + list(RunConfig.model_fields)
