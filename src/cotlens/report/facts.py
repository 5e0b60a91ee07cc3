"""What was run, how long it took, and the terms that the report uses."""

from __future__ import annotations

import json
from typing import Any

from cotlens.config import DiscoverConfig, GenerateConfig, PromptConfig
from cotlens.report.names import variant_names
from cotlens.report.text import count, duration, readable
from cotlens.store import Run

__all__ = ["GLOSSARY", "duration_words", "manifest_json", "settings", "versions_words"]

#: Files listed per stage in the shown manifest; a large run has tens of thousands.
_FILES_SHOWN = 20

GLOSSARY = (
    (
        "L12N345",
        "hidden unit 345 of the feed-forward block of layer 12, both counted from 0. A sign, as in L12N345+, says with "
        "which sign of its coefficient the neuron was labelled.",
    ),
    (
        "coefficient",
        "the unit’s signed activation: the number by which its value vector is multiplied before it is added to the "
        "residual stream.",
    ),
    (
        "score",
        "the size of the coefficient times the length (L2 norm) of the value vector; neurons are ranked by it.",
    ),
    (
        "active",
        "among the highest scores of its layer at a generated token (see top-k); for a labelled neuron also with the "
        "sign it was labelled with.",
    ),
    (
        "promoted, suppressed",
        "the tokens whose logits the value vector raises most, and lowers most. With a negative coefficient the two "
        "change places.",
    ),
    (
        "reasoning neuron",
        "an active neuron that the judge confirmed for at least one concept, from the tokens it promotes.",
    ),
    (
        "neuron-step",
        "one neuron at one generated token; a frequency is the active neuron-steps of a set over all of them.",
    ),
)


def settings(run: Run, problems: int, lowest: int) -> list[tuple[str, str]]:
    """Label and value of what a reader needs to judge or repeat the run."""
    config, model = run.config, run.manifest.model
    analyze, intervene = config.analyze, config.intervene
    edits = "; ".join(f"{edit.kind} {', '.join(f'{dose:g}' for dose in edit.doses)}" for edit in intervene.edits)
    draws = f"{intervene.draws} of a set, {intervene.control_draws} random sets"
    rows = [
        ("Protocol", config.protocol),
        ("Model", config.model.name),
        ("Size", _size(model)),
        ("Precision", config.model.dtype),
        ("Fingerprint", str(model.get("fingerprint", "–"))[:12]),
        ("Problems", f"{config.problems.source}, {count(problems)}"),
        ("Demonstrations", _demonstrations(config.prompt)),
        ("Variants", ", ".join(variant_names(config.prompt.variants).values())),
        ("Generation", _generation(config.generate)),
        ("Top-k", f"{config.discover.top_k} per layer and token"),
        ("Ranker", config.discover.ranker),
        ("Recorded", _recorded(config.discover)),
        ("Projection", f"{config.project.top_n} tokens at each end, norm {config.project.norm}"),
        ("Judge", ", beside it ".join(config.label.judges)),
        ("Labelled layers", f"{lowest} and above; {config.label.min_seeds} seed words or more"),
        ("Controls", f"{analyze.control_draws} random sets"),
        ("Intervals", f"{analyze.confidence:.0%}; {count(analyze.bootstrap)} resamples"),
        ("Intervention", f"{edits} on {', '.join(intervene.sets)}; draws: {draws}"),
        ("Seed", str(config.seed)),
    ]
    return [(label, readable(value, 400)) for label, value in rows]


def _demonstrations(prompt: PromptConfig) -> str:
    order = "" if prompt.order_seed is None else f", shuffled with seed {prompt.order_seed}"
    chat = f", in the model’s chat template ({prompt.chat_layout})" if prompt.chat else ""
    return f"{prompt.shots} of “{prompt.demonstrations}”{order}{chat}"


def _generation(generate: GenerateConfig) -> str:
    onward = "" if generate.stop_at_end else ", also after the end token"
    return f"greedy, at most {count(generate.max_new_tokens, 'token')}{onward}"


def _recorded(discover: DiscoverConfig) -> str:
    if discover.sample is None:
        return f"{discover.questions} completions"
    return f"{discover.sample} of {discover.questions} completions per variant, drawn with seed {discover.sample_seed}"


def _size(model: dict[str, Any]) -> str:
    if "n_layers" not in model:
        return "–"
    return f"{model['n_layers']} layers of {model['d_ff']:,} neurons, residual width {model['d_model']:,}"


def duration_words(run: Run) -> str:
    """How long each stage took; the report's own time is not known while it is written."""
    stages = [(name, record.duration_s) for name, record in _stages(run).items()]
    total = duration(sum(seconds for _, seconds in stages))
    return f"It took {total}: {', '.join(f'{name} {duration(seconds)}' for name, seconds in stages)}."


def versions_words(run: Run) -> str:
    """When the run began, and the packages it was made with."""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(run.manifest.packages.items()))
    return readable(f"Begun {run.manifest.created_at.replace('T', ' ').replace('+00:00', ' UTC')}. {packages}", 400)


def manifest_json(run: Run) -> str:
    """The manifest without the report's own entry, in ASCII, long lists of files cut."""
    shown = run.manifest.model_dump(mode="json")
    shown["stages"].pop("report", None)
    for stage in shown["stages"].values():
        files = list(stage["parts"].items())
        if len(files) > _FILES_SHOWN:
            stage["parts"] = dict(files[:_FILES_SHOWN]) | {"more files": len(files) - _FILES_SHOWN}
    return json.dumps(shown, indent=1)


def _stages(run: Run) -> dict[str, Any]:
    return {name: record for name, record in run.manifest.stages.items() if name != "report"}
