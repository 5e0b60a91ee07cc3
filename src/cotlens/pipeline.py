"""The whole of cotlens on one screen: which stages there are, in what order, and what each one's result depends on.

A stage is skipped when its result is there under the same key, a hash of its settings and of the keys of the stages
that it reads. The model is loaded when the first stage needs it, and not at all when everything is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotlens.config import LABEL_OPERATIONAL, LabelConfig, RunConfig
from cotlens.data import load_problems, make_template
from cotlens.errors import ConfigError, ItemsFailedError, RunMismatchError
from cotlens.files import content_hash
from cotlens.prompt_lengths import check_prompt_lengths
from cotlens.store import Run, RunWriter, open_run
from cotlens.types import Problem, Progress, Silent

if TYPE_CHECKING:
    from cotlens.judge import Judge
    from cotlens.model.language_model import LanguageModel

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
    """One step of the pipeline. ``settings`` is what its result depends on, beside the stages it comes ``after``."""

    name: str
    work: Callable[[Study], None]
    settings: Callable[[RunConfig], Any]
    after: tuple[str, ...] = ()


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


def _label(study: Study) -> None:
    from cotlens.concepts import label_stage

    run = study.run
    before = run.manifest.stages["label"].parts.get("concepts.parquet")
    failed = label_stage(run, study.progress, local_judge(run.config), study.ask_again)
    after = run.manifest.stages["label"].parts["concepts.parquet"]
    if before is not None and before.sha256 != after.sha256:
        run.forget(name for name, stage in STAGES.items() if name != "label" and "label" in _needed(stage.name))
    if failed:
        study.failed = (
            f"{failed} questions got no reply from the judge and count as not answered; to ask them again: "
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

    intervene_stage(study.run, study.lm, study.problems, study.progress)


def _report(study: Study) -> None:
    from cotlens.report import report_stage

    report_stage(study.run, study.progress)


def _reread_settings(config: RunConfig) -> Any:
    return config.analyze.reference_of(config.prompt.variants) if config.analyze.reread else None


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "generate",
            _generate,
            lambda c: [c.generate.model_dump(exclude={"batch_size"}, exclude_none=True), c.model.dtype],
        ),
        Stage("discover", _discover, lambda c: c.discover.model_dump(), after=("generate",)),
        Stage("project", _project, lambda c: c.project.model_dump(), after=("discover",)),
        Stage("label", _label, lambda c: [_label_key(c), c.seed], after=("project",)),
        Stage("reread", _reread, _reread_settings, after=("discover",)),
        Stage("analyze", _analyze, lambda c: [c.analyze.model_dump(), c.seed], after=("reread", "label")),
        Stage("intervene", _intervene, lambda c: [c.intervene.model_dump(), c.seed], after=("label",)),
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
            if run.begin(stage.name, keys[stage.name]):
                started = time.monotonic()
                stage.work(study)
                if not (stage.name == "label" and study.failed):
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
    from cotlens.judge import check_judge

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
    """Makes judges that are models on this machine; they run where the studied model does."""

    def make(model: str, settings: LabelConfig) -> Judge:
        from cotlens.local_judge import LocalJudge

        return LocalJudge(model, settings, config.model.device, config.model.dtype)

    return make


def find_model(config: RunConfig) -> dict[str, Any]:
    """The fingerprint of the model's files; no weights are loaded, but settings that can't fit it are refused."""
    from cotlens.model.source import resolve_model

    source = resolve_model(config.model.name, config.model.revision)
    width, layers = source.width(), source.layers()
    if width is not None and config.discover.top_k > width:
        raise ConfigError(
            f"discover.top_k is {config.discover.top_k}; {source.name} has {width} neurons per layer, "
            f"so give 1 to {width}"
        )
    if layers is not None and (config.label.min_layer or 0) >= layers:
        raise ConfigError(f"label.min_layer is {config.label.min_layer}; {source.name} has layers 0 to {layers - 1}")
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
    return [config.label.model_dump(exclude=set(LABEL_OPERATIONAL)), concepts]
