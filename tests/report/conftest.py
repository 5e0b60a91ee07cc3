"""A small run directory, made by hand and without a model, and its report."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from tests.report.effect_tables import balance

from cotlens.analyze import analyze_stage
from cotlens.analyze.edit_tables import write_edit_tables
from cotlens.config import PromptConfig, RunConfig
from cotlens.data import Prompt, Template, make_template
from cotlens.report import report_stage
from cotlens.store import Manifest, RunWriter
from cotlens.types import Silent

LAYERS, WIDTH = 4, 8
TEXT = ["The", " sum", " is", " 4", " +", " 9", " =", " 1", "3", ".\n", "The", " answer", " is", " 13", "."]
ROLES = [
    *["text"] * 3, "operand", "operator", "operand", "equals", "result", "result", "text",
    *["answer_phrase"] * 3, "answer", "text",
]  # fmt: skip
SHOTS = 3
#: Layer, neuron, sign, concept. Layer 0 is not labelled; L2N3 carries two concepts.
LABELLED = [(1, 0, 1, "add"), (2, 3, 1, "add"), (2, 3, 1, "equals"), (3, 5, -1, "logic")]


@dataclass
class Content:
    """What stands in the run; a test replaces what it is about."""

    variants: tuple[str, ...] = ("cot", "text_only")
    questions: int = 4
    right: int = 2
    model: str = "tiny"
    question: str = "Ann has 4 pens and Bob has 9. How many do they have?"
    tokens: list[str] = field(default_factory=lambda: list(TEXT))
    strange: str = " odd"
    reason: str = "5 of 20 tokens are words of 'add': sum"
    concept: str = "logic"
    labelled: bool = True
    recorded: bool = True
    stored_tokens: bool = True
    described_prompts: bool = True
    reasoning_draws: int = 2
    control_draws: int = 3
    kind: str = "noise"
    effects: bool = True


def _config(content: Content) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": content.model},
            "problems": {"limit": content.questions},
            "prompt": {"variants": content.variants},
            "discover": {"top_k": 2},
            "analyze": {"bootstrap": 40, "control_draws": 4},
            "intervene": {
                "variant": content.variants[0],
                "edits": [{"kind": content.kind}],
                "draws": max(1, content.reasoning_draws),
                "control_draws": content.control_draws,
            },
        }
    )


def _template(variant: str) -> Template:
    """A user's own file holds what text_only shows."""
    return make_template("text_only" if variant.startswith("file:") else variant, PromptConfig(shots=SHOTS))


def _prompt_tokens(prompt: Prompt) -> list[dict[str, object]]:
    """A token for each word with the space before it, and for each line break."""
    rows = []
    for place, word in enumerate(re.finditer(r" ?\S+|\s", prompt.text)):
        section = next((s for s in prompt.sections if s.start < word.end() <= s.end), None)
        rows.append(
            {
                "position": place,
                "token_id": 900 + place,
                "text": word[0],
                "start": word.start(),
                "end": word.end(),
                "part": section.part if section else "frame",
                "demonstration": section.demonstration if section else None,
                "line": None,
                "role": "text",
            }
        )
    return rows


def _completion_tokens(content: Content, first: int) -> list[dict[str, object]]:
    """All on one line, with the roles of the usual text whatever is written."""
    return [
        {"position": first + step, "token_id": step, "text": text, "start": 0, "end": 0, "part": "completion"}
        | {"demonstration": None, "line": 0, "role": ROLES[step] if step < len(ROLES) else "text"}
        for step, text in enumerate(content.tokens)
    ]


def _tokens(content: Content, variant: str) -> pl.DataFrame:
    """The tokens of one part; all but the last of a prompt stand there once for all questions."""
    prompt = _prompt_tokens(_template(variant).ask(content.question))
    shared = max(0, len(prompt) - 12)
    rows = [{"question_id": None} | row for row in prompt[:shared]]
    for question in range(content.questions):
        own = [*prompt[shared:], *_completion_tokens(content, len(prompt))]
        rows += [{"question_id": f"q{question}"} | row for row in own]
    schema = {
        "variant": pl.String, "question_id": pl.String, "position": pl.Int32, "token_id": pl.Int32, "text": pl.String,
        "start": pl.Int32, "end": pl.Int32, "part": pl.String, "demonstration": pl.Int32, "line": pl.Int32,
        "role": pl.String,
    }  # fmt: skip
    return pl.DataFrame([{"variant": variant} | row for row in rows], schema=schema)


def _described(content: Content, variant: str) -> dict[str, object]:
    template = _template(variant)
    return {
        "mean_tokens": float(len(_prompt_tokens(template.ask(content.question)))),
        "demonstrations": template.demonstrations,
        "lines": template.lines,
        "equations": template.equations,
        "two_stage": bool(template.elicit),
    }


def _completions(content: Content, variant: str) -> pl.DataFrame:
    rows = []
    template = _template(variant)
    length = len(_prompt_tokens(template.ask(content.question)))
    for question in range(content.questions):
        right = question < content.right
        rows.append(
            {
                "variant": variant,
                "question_id": f"q{question}",
                "question": content.question,
                "gold": "13",
                "prompt_length": length,
                "token_ids": [*range(900, 900 + length), *range(len(content.tokens))],
                "text": "".join(content.tokens),
                "stated": " 13." if template.elicit else None,
                "stop_reason": "stop",
                "answer_strict": "13" if right else None,
                "answer_flexible": "13",
                "correct": right,
                "correct_flexible": True,
            }
        )
    schema = {"token_ids": pl.List(pl.Int32), "answer_strict": pl.String, "stated": pl.String}
    return pl.DataFrame(rows, schema_overrides=schema)


def _activations(content: Content, variant: str) -> pl.DataFrame:
    """At step t the neurons t and t + 3 of every layer are active, with alternating signs."""
    rows = [
        {
            "variant": variant,
            "question_id": f"q{question}",
            "step": step,
            "token_id": step,
            "layer": layer,
            "neuron": [(step + question) % WIDTH, (step + question + 3) % WIDTH],
            "coefficient": [1.5, -0.5],
            "score": [3.0, 1.0],
        }
        for question in range(content.questions if content.recorded else 0)
        for step in range(len(content.tokens))
        for layer in range(LAYERS)
    ]
    schema = {
        "variant": pl.String, "question_id": pl.String, "step": pl.Int32, "token_id": pl.Int32, "layer": pl.Int32,
        "neuron": pl.List(pl.Int32), "coefficient": pl.List(pl.Float32), "score": pl.List(pl.Float32),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _neurons(content: Content) -> pl.DataFrame:
    """Every neuron, with the same tokens at both ends."""
    rows = [
        {
            "layer": layer,
            "neuron": neuron,
            "hits": 30 + neuron,
            "hits_positive": 20 + neuron,
            "hits_negative": 10,
            "value_norm": 1.25,
            "promoted": [*content.tokens[:6], content.strange],
            "suppressed": [content.strange, *content.tokens[6:10]],
            "promoted_ids": [0, 1, 2, 3, 4, 5, 77],
            "promoted_logits": [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2],
            "suppressed_ids": [77, 6, 7, 8, 9],
            "suppressed_logits": [-0.4, -0.3, -0.2, -0.2, -0.1],
            "norm": "none",
        }
        for layer in range(LAYERS)
        for neuron in range(WIDTH)
    ]
    return pl.DataFrame(
        rows,
        schema_overrides={
            "layer": pl.Int32, "neuron": pl.Int32, "hits_positive": pl.UInt32, "hits_negative": pl.UInt32,
            "promoted_ids": pl.List(pl.Int32), "suppressed_ids": pl.List(pl.Int32), "value_norm": pl.Float32,
        },
    )  # fmt: skip


def _conditions(content: Content) -> list[dict[str, object]]:
    """The untouched model; at two doses the reasoning neurons, and once all but them, each with random sets."""
    found: list[dict[str, object]] = [
        {"set": "none", "target": None, "scope": None, "kind": "none", "dose": 0.0, "draw": 0}
    ]
    for scope, dose in (("set", 1.0), ("set", 0.5), ("rest", 1.0)) if content.labelled else ():
        edit = {"target": "reasoning", "scope": scope, "kind": content.kind, "dose": dose}
        draws = {"reasoning": content.reasoning_draws, "random": content.control_draws}
        found += [edit | {"set": name, "draw": draw} for name, number in draws.items() for draw in range(number)]
    return found


_TAGS = {"set": pl.String, "target": pl.String, "scope": pl.String, "kind": pl.String, "dose": pl.Float64}
_TAGS |= {"draw": pl.Int32}


def _interventions(content: Content) -> pl.DataFrame:
    """With the reasoning neurons edited one right answer is lost."""
    rows = [
        condition
        | {
            "question_id": f"q{question}",
            "answer": "13" if right else None,
            "correct": right,
            "text": "".join(content.tokens) if right else f"I say {content.strange}",
            "stated": " 13." if _template(content.variants[0]).elicit else None,
            "stop_reason": "stop",
            "tokens": len(content.tokens),
        }
        for condition in _conditions(content)
        for question in range(content.questions)
        for right in [question < content.right and not (condition["set"] == "reasoning" and question == 0)]
    ]
    return pl.DataFrame(rows, schema_overrides=_TAGS | {"answer": pl.String, "stated": pl.String, "tokens": pl.Int32})


def _specificity(content: Content) -> pl.DataFrame:
    """Two passages and two questions; an edit takes a tenth of a log-probability from every token of the passages."""
    rows = [
        condition
        | {
            "measure": measure,
            "item": f"{measure}{item}",
            "tokens": 10,
            "log_prob": -10.0 - (condition["set"] != "none"),
        }
        | {"correct": None if measure == "text" else True}
        for condition in _conditions(content)
        for measure in ("text", "questions")
        for item in range(2)
    ]
    return pl.DataFrame(rows, schema_overrides=_TAGS | {"tokens": pl.Int32, "correct": pl.Boolean})


def _intervene(run: RunWriter, content: Content) -> None:
    run.add_frame("intervene", "interventions/0.parquet", _interventions(content))
    run.add_frame("intervene", "specificity/0.parquet", _specificity(content))
    run.add_frame("intervene", "intervention_sets.parquet", _sets(content))
    if content.effects:
        controlled = content.labelled and content.control_draws and content.reasoning_draws
        frame = balance(*(["reasoning"] if controlled else []))
        run.add_frame("intervene", "analysis/control_balance.parquet", frame)
        write_edit_tables(run)


def _sets(content: Content) -> pl.DataFrame:
    """The labelled neurons; each random set others of their layers."""
    own = sorted({(layer, neuron) for layer, neuron, _, _ in LABELLED if content.labelled})
    rows = [("reasoning", "reasoning", 0, *member) for member in own]
    rows += [
        ("random", "reasoning", draw, layer, (neuron + 2 + draw) % WIDTH)
        for draw in range(content.control_draws)
        for layer, neuron in own
    ]
    schema = {"set": pl.String, "target": pl.String, "draw": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _label(run: RunWriter, content: Content) -> None:
    labelled = [(*rest, content.concept if concept == "logic" else concept) for *rest, concept in LABELLED]
    replies = [
        {"neuron": f"L{layer}N{neuron}", "sign": sign, "concept": concept, "status": "ok", "verdict": True}
        | {"reason": content.reason}
        for layer, neuron, sign, concept in labelled
    ]
    refused = {"neuron": "L1N1", "sign": 1, "concept": "add", "status": "refused", "verdict": None, "reason": ""}
    lines = [json.dumps(reply) + "\n" for reply in (*replies, refused)]
    (run.path / "judgements.jsonl").write_text("".join(lines) if content.labelled else "")
    run.record_file("label", "judgements.jsonl")
    schema = {"layer": pl.Int32, "neuron": pl.Int32, "sign": pl.Int8, "concept": pl.String}
    frame = pl.DataFrame(labelled if content.labelled else [], schema=schema, orient="row")
    run.add_frame("label", "concepts.parquet", frame)


def make_run(path: Path, content: Content) -> RunWriter:
    """A run directory in which every stage but the report is done."""
    path.mkdir()
    model = {"fingerprint": "f" * 64, "n_layers": LAYERS, "d_ff": WIDTH, "d_model": 16}
    packages = {"cotlens": "0.1.0"}
    created = "2026-01-02T03:04:05+00:00"
    run = RunWriter(path, Manifest(created_at=created, config=_config(content), packages=packages, model=model))
    for stage in ("generate", "discover", "project", "label", "analyze", "intervene", "report"):
        run.begin(stage, stage)
        if stage == "generate":
            for place, variant in enumerate(content.variants):
                if content.described_prompts:
                    run.manifest.prompts[variant] = _described(content, variant)
                if content.stored_tokens:
                    run.add_frame(stage, f"tokens/{place}.parquet", _tokens(content, variant))
                run.add_frame(stage, f"completions/{place}.parquet", _completions(content, variant))
        elif stage == "discover":
            for place, variant in enumerate(content.variants):
                run.add_frame(stage, f"activations/{place}.parquet", _activations(content, variant))
        elif stage == "project":
            run.add_frame(stage, "neurons.parquet", _neurons(content))
        elif stage == "label":
            _label(run, content)
        elif stage == "analyze":
            analyze_stage(run, Silent())
        elif stage == "intervene":
            _intervene(run, content)
        if stage != "report":
            run.finish(stage, 60.0)
    return run


@dataclass(frozen=True)
class Report:
    run: RunWriter
    html: str


@pytest.fixture(scope="session")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Report]:
    """Make a run with some content, and its report."""

    def make(**content: object) -> Report:
        run = make_run(tmp_path_factory.mktemp("report") / "run", Content(**content))  # type: ignore[arg-type]
        report_stage(run, Silent())
        return Report(run, (run.path / "report.html").read_text(encoding="utf-8"))

    return make


@pytest.fixture(scope="session")
def report(report_of: Callable[..., Report]) -> Report:
    """The report of a run with nothing unusual in it."""
    return report_of()
