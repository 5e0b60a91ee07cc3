"""The whole of cotlens on one screen: which stages there are, in what order, and what each one's result depends on.

A stage is skipped when its result is there under the same key, a hash of its settings and of the keys of the stages
that it reads. The model is loaded when the first stage needs it, and not at all when everything is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotlens.config import LABEL_OPERATIONAL, LabelConfig, RunConfig
from cotlens.data import load_problems, make_template
from cotlens.devices import check_device
from cotlens.errors import ConfigError, ItemsFailedError, RunMismatchError
from cotlens.files import content_hash
from cotlens.prompt_lengths import check_prompt_lengths
from cotlens.store import Run, RunWriter, open_run
from cotlens.types import Problem, Progress, Silent

if TYPE_CHECKING:
    from cotlens.judge import Judge
    from cotlens.model.language_model import LanguageModel
    from cotlens.model.source import ModelSource

__all__ = ["STAGES", "Stage", "run_pipeline", "validate"]


@dataclass
class Study:
    """What the stages work with: the open run, the model and the problems, each made when first asked for."""

    run: RunWriter
    progress: Progress = field(default_factory=Silent)
    found: dict[str, Any] | None = None
    """The model's fingerprint, where it was looked up already."""
    checked: list[Problem] = field(default_factory=list)
    """The problems, where they were read already."""
    ask_again: bool = False
    """Whether judges are asked anew what they gave no verdict on."""
    failed: str = ""
    """What could not be done, though all stages ended."""
    unfinished: bool = False
    """Whether it may be done when the stage runs again."""

    @cached_property
    def lm(self) -> LanguageModel:
        from cotlens.model.load import load_model

        self.check_model(self.found or find_model(self.run.config))
        model = self.run.config.model
        return load_model(model.name, model.device, model.dtype, model.revision, model.trust_remote_code)

    @cached_property
    def problems(self) -> list[Problem]:
        return self.checked or load_problems(self.run.config.problems)

    def check_model(self, found: dict[str, Any]) -> None:
        """Note the model's fingerprint, or compare it with the one that an earlier try noted."""
        recorded = self.run.manifest.model
        if recorded and recorded["fingerprint"] != found["fingerprint"]:
            raise RunMismatchError(
                f"{self.run.path}: the weights, tokenizer or chat template of {found['name']!r} are not those that "
                "this run began with; restore them, name another folder with --out, or add --new-run"
            )
        self.run.manifest.model = recorded | found

    def prompts_key(self) -> str:
        """Hash of the exact text of every prompt, and of what counts as its right answer."""
        prompt = self.run.config.prompt
        templates = [make_template(variant, prompt) for variant in prompt.variants]
        return content_hash(
            [(problem.id, str(problem.gold)) for problem in self.problems],
            [[t.variant, t.elicit, [t.ask(p.question).text for p in self.problems]] for t in templates],
            [prompt.chat, prompt.chat_layout],
        )


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline. ``settings`` is what its result depends on, beside the stages it comes ``after``; its
    files under ``analysis/`` depend on ``tables`` too. Where only these change, the stage goes on from what it has."""

    name: str
    work: Callable[[Study], None]
    settings: Callable[[RunConfig], Any]
    after: tuple[str, ...] = ()
    tables: Callable[[RunConfig], Any] | None = None


def _generate(study: Study) -> None:
    from cotlens.generate.server import find_model as find_served_model
    from cotlens.generate.stage import generate_stage

    if study.run.config.generate.server is not None:
        find_served_model(study.run.config.generate)  # a server that is not there is told before weights load
    study.run.manifest.model |= {"n_layers": study.lm.n_layers, "d_ff": study.lm.d_ff, "d_model": study.lm.d_model}
    generate_stage(study.run, study.lm, study.problems, study.progress)


def _discover(study: Study) -> None:
    from cotlens.discover import discover_stage

    discover_stage(study.run, study.lm, study.progress)


def _project(study: Study) -> None:
    from cotlens.project import project_stage

    project_stage(study.run, study.lm, study.progress)


def _similar(study: Study) -> None:
    from cotlens.project.similar import similar_stage

    if study.run.config.project.similar:
        similar_stage(study.run, study.lm, study.progress)


def _label(study: Study) -> None:
    from cotlens.concepts import label_stage

    run = study.run
    before = dict(run.manifest.stages["label"].parts)  # none if it was never labelled with these settings
    left = label_stage(run, study.progress, local_judge(run.config), study.ask_again)
    after = run.manifest.stages["label"].parts["concepts.parquet"]
    if not before or ("concepts.parquet" in before and before["concepts.parquet"].sha256 != after.sha256):
        run.forget(name for name, stage in STAGES.items() if name != "label" and "label" in _needed(stage.name))
    study.unfinished = left.passing > 0
    if left.lasting:
        study.failed = (
            f"questions that a judge can't take count as not answered: {left.lasting:,}, such as: {left.reason}"
        )
    if left.passing:
        study.failed = (
            f"questions that got no reply from a judge count as not answered: {left.passing:,}; to ask them again: "
            f"cotlens label {run.path}"
        )


def _reread(study: Study) -> None:
    if study.run.config.analyze.reread:
        from cotlens.teacher_forced import reread_stage

        reread_stage(study.run, study.lm, study.progress)


def _analyze(study: Study) -> None:
    from cotlens.analyze import analyze_stage

    analyze_stage(study.run, study.progress)


def _intervene(study: Study) -> None:
    from cotlens.intervene.stage import intervene_stage

    intervene_stage(study.run, lambda: study.lm, study.progress)


def _report(study: Study) -> None:
    from cotlens.report import report_stage

    report_stage(study.run, study.progress)


def _generate_settings(config: RunConfig) -> Any:
    no_matter = {"batch_size"} | ({"stop_at_end"} if config.generate.stop_at_end else set())
    return config.generate.model_dump(exclude=no_matter, exclude_none=True)


def _discover_settings(config: RunConfig) -> Any:
    no_matter = {"sample", "sample_seed"} if config.discover.sample is None else set()
    no_matter |= set() if config.discover.logit_lens else {"logit_lens"}
    return config.discover.model_dump(exclude=no_matter)


def _reread_settings(config: RunConfig) -> Any:
    return config.analyze.reference_of(config.prompt.variants) if config.analyze.reread else None


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "generate",
            _generate,
            lambda c: [_generate_settings(c), c.model.dtype],
        ),
        Stage("discover", _discover, _discover_settings, after=("generate",)),
        Stage("project", _project, lambda c: c.project.model_dump(exclude={"similar"}), after=("discover",)),
        Stage("similar", _similar, lambda c: c.project.similar, after=("project",)),
        Stage("label", _label, lambda c: [_label_key(c), c.seed], after=("project",)),
        Stage("reread", _reread, _reread_settings, after=("discover",)),
        Stage("analyze", _analyze, lambda c: [c.analyze.model_dump(), c.seed], after=("reread", "label")),
        Stage(
            "intervene",
            _intervene,
            lambda c: [_asked_key(c), c.seed],
            after=("label",),
            tables=lambda c: [_edited_key(c), c.analyze.confidence, c.analyze.bootstrap, c.analyze.permutations],
        ),
        Stage("report", _report, lambda c: c.model_dump(mode="json"), after=("analyze", "intervene")),
    )
}


def run_pipeline(
    config: RunConfig,
    out: Path,
    progress: Progress | None = None,
    only: str | None = None,
    ask_again: bool = False,
) -> Run:
    """Run all stages, or one and whatever it needs, in the directory ``out``; go on where an earlier try ended.

    For one stage the stored completions are taken as they are: labels and figures can be made again where neither the
    model nor the problems are at hand. With ``ask_again`` the neurons are labelled again, and judges asked anew what
    they gave no verdict on.

    Raises:
        CotlensError: bad input is found before a model is loaded.
        ItemsFailedError: all stages ended, and some questions to a judge have no reply.
    """
    given = _has_completions(out) if only not in (None, "generate") else False
    problems = validate(config, with_inputs=not given)
    if "label" in _needed(only or "report") and not _is_labelled(out, config):
        check_keys(config)
    if not _has_completions(out):
        check_prompt_lengths(config, problems)
    model = None if given else find_model(config)
    with RunWriter.open(out, config, may_differ=only is not None) as run:
        study = Study(run, progress or Silent(), model, problems, ask_again)
        if ask_again:
            run.reopen("label")
        keys: dict[str, str] = {}
        for stage in STAGES.values():
            if only is not None and stage.name not in _needed(only):
                continue
            if stage.after:
                inputs = [keys[name] for name in stage.after]
                keys[stage.name] = content_hash(stage.name, stage.settings(config), inputs)
            elif model is None:
                keys[stage.name] = run.manifest.stages[stage.name].key
            else:
                study.check_model(model)
                inputs = [model["fingerprint"], study.prompts_key()]
                keys[stage.name] = content_hash(stage.name, stage.settings(config), inputs)
                if only is None:
                    _check_prompts(run, stage.name, keys[stage.name])
            if run.begin(stage.name, keys[stage.name], content_hash(stage.tables(config)) if stage.tables else ""):
                started = time.monotonic()
                stage.work(study)
                if not (stage.name == "label" and study.unfinished):
                    run.finish(stage.name, time.monotonic() - started)
        if study.failed:
            raise ItemsFailedError(study.failed)
        return Run(run.path, run.manifest)


def validate(config: RunConfig, with_inputs: bool = True) -> list[Problem]:
    """Check all that can be checked without loading weights; the problems that would be asked.

    Without ``with_inputs`` prompts and problems are left out, and none are returned.

    Raises:
        InputError: naming every wrong name, file or row.
    """
    from cotlens.concepts import load_concepts
    from cotlens.intervene.sets import check_sets
    from cotlens.judge import check_judge

    check_device(config.model.device)
    for variant in config.prompt.variants if with_inputs else ():
        make_template(variant, config.prompt)
    if config.intervene.variant not in config.prompt.variants:
        raise ConfigError(
            f"intervene.variant is {config.intervene.variant!r}; it must be one of prompt.variants: "
            f"{', '.join(config.prompt.variants)}"
        )
    reference = config.analyze.reference
    if reference is not None and reference not in config.prompt.variants:
        raise ConfigError(
            f"analyze.reference is {reference!r}; it must be one of prompt.variants: "
            f"{', '.join(config.prompt.variants)}"
        )
    load_concepts(config.label.concepts)
    check_sets(config)
    _reference_texts(config)
    for judge in config.label.judges:
        check_judge(judge, config.label)
        if judge.startswith("hf/"):
            from cotlens.model.source import resolve_model

            resolve_model(judge.removeprefix("hf/"))
    return load_problems(config.problems) if with_inputs else []


def check_keys(config: RunConfig) -> None:
    """Raise a `JudgeStoppedError` if the key of a judge is not set: before hours of work, not after them."""
    from cotlens.judge import check_judge

    for judge in config.label.judges:
        check_judge(judge, config.label, with_key=True)


def local_judge(config: RunConfig) -> Callable[[str, LabelConfig], Judge]:
    """Makes judges that are models on this machine; they run where the studied model does, by default as precisely."""

    def make(model: str, settings: LabelConfig) -> Judge:
        from cotlens.local_judge import LocalJudge

        return LocalJudge(model, settings, config.model.device, settings.local_dtype or config.model.dtype)

    return make


def find_model(config: RunConfig) -> dict[str, Any]:
    """The fingerprint of the model's files; no weights are loaded, but settings that can't fit it are refused."""
    from cotlens.intervene.sets import check_layers
    from cotlens.model.limits import check_token_count
    from cotlens.model.source import resolve_model

    source = resolve_model(config.model.name, config.model.revision)
    check_token_count(source, "project.top_n", config.project.top_n)
    width, layers = source.width(), source.layers()
    if width is not None and config.discover.top_k > width:
        raise ConfigError(
            f"discover.top_k is {config.discover.top_k}; {source.name} has {width} neurons per layer, "
            f"so give 1 to {width}"
        )
    if layers is not None and (config.label.min_layer or 0) >= layers:
        raise ConfigError(f"label.min_layer is {config.label.min_layer}; {source.name} has layers 0 to {layers - 1}")
    check_layers(config, source.name, layers, width)
    return source.fingerprint()


def _check_prompts(run: RunWriter, stage: str, key: str) -> None:
    """With the same settings and weights, another key means other problems or prompts."""
    recorded = run.manifest.stages.get(stage)
    if recorded is not None and recorded.key != key:
        raise RunMismatchError(
            f"{run.path}: the problems in {run.config.problems.source!r}, or the prompts, are not those that this run "
            "began with; restore them, name another folder with --out, or add --new-run"
        )


def _has_completions(out: Path) -> bool:
    return (out / "manifest.json").exists() and open_run(out).is_done("generate")


def _needed(name: str) -> set[str]:
    """``name`` and all stages before it."""
    return {name}.union(*(_needed(before) for before in STAGES[name].after))


def _is_labelled(out: Path, config: RunConfig) -> bool:
    """Whether the run is labelled already, with these settings."""
    if not (out / "manifest.json").exists():
        return False
    run = open_run(out)
    return run.is_done("label") and _label_key(run.config) == _label_key(config)


def _label_key(config: RunConfig) -> list[Any]:
    from cotlens.concepts import load_concepts

    concepts = [
        (c.id, c.name, c.question, c.description, c.negatives, sorted(c.seeds), sorted(c.words))
        for c in load_concepts(config.label.concepts)
    ]
    unused = {"local_dtype"} if config.label.local_dtype is None else set()
    return [config.label.model_dump(exclude=unused | LABEL_OPERATIONAL), concepts, *_judge_files(config.label)]


def _judge_files(settings: LabelConfig) -> list[str]:
    """Hashes of what the replies of judges on this machine depend on: the file of a mock, the weights of a model."""
    from cotlens.judge.registry import judge_inputs

    weights = [_weights(name.removeprefix("hf/")) for name in settings.judges if name.startswith("hf/")]
    return [found for found in (*judge_inputs(settings), *weights) if found]


def _weights(model: str) -> str:
    from cotlens.model.source import resolve_model

    source = resolve_model(model)
    stamps = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in source.weight_files())
    return _fingerprint(source, stamps)


@lru_cache(maxsize=8)
def _fingerprint(source: ModelSource, stamps: tuple[object, ...]) -> str:
    """Read once as long as ``stamps``, size and time of the files, are the same; large weights take seconds."""
    return str(source.fingerprint()["fingerprint"])


def _asked_key(config: RunConfig) -> list[Any]:
    """What every condition of the interventions depends on, whichever neurons are edited how."""
    from cotlens.data.plain import QUESTIONS_READ, TEXTS_READ, load_plain_questions, load_plain_texts

    plain = [load_plain_texts(limit=TEXTS_READ), load_plain_questions(limit=QUESTIONS_READ)]
    return [config.intervene.variant, config.intervene.questions, content_hash(plain, _reference_texts(config))]


def _edited_key(config: RunConfig) -> list[Any]:
    from cotlens.intervene.sets import list_files

    return [config.intervene.model_dump(), list_files(config)]


def _reference_texts(config: RunConfig) -> list[str]:
    """The text that coefficients are taken from by some edits."""
    from cotlens.data.plain import load_plain_texts

    return [text.text for text in load_plain_texts(config.intervene.reference)]
