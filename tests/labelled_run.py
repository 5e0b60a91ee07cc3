"""A small run directory, made by hand and without a model, whose neurons are projected and not labelled yet."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cotlens.config import RunConfig
from cotlens.pipeline import STAGES
from cotlens.store import RunWriter, open_run

LAYERS, WIDTH = 4, 12
#: Words that stand among the tokens of neurons 0 to 3 of every layer: enough seeds of two concepts to be asked about.
PLACED = {0: [" plus", " sum", " total", " add"], 1: [" plus", " total"], 2: [" minus", " less"], 3: [" plus", " sum"]}
TEXT = [" Ann", " has", " 4", " plus", " 9", " =", " 13", "."]
CONFIG = {
    "model": {"name": "tiny", "device": "cpu"},
    "prompt": {"variants": ["cot"]},
    "label": {"min_layer": 1, "random_controls": 12, "shuffled_controls": 12, "retests": 4},
    "analyze": {"bootstrap": 50, "control_draws": 2},
}


def make_projected_run(path: Path, **label: object) -> RunWriter:
    """Stages ``generate``, ``discover`` and ``project`` are done; ``label`` changes settings of that section."""
    config = RunConfig.model_validate(CONFIG | {"label": CONFIG["label"] | label})
    with RunWriter.open(path, config) as run:
        run.manifest.model = {"fingerprint": "f" * 64, "n_layers": LAYERS, "d_ff": WIDTH, "d_model": 16}
        for stage in ("generate", "discover", "project"):
            run.begin(stage, stage)
            for name, frame in _frames(stage).items():
                run.add_frame(stage, name, frame)
            run.finish(stage, 1.0)
        # Keys as the pipeline makes them, so that it takes these stages for done.
        from cotlens.files import content_hash

        key = "generate"
        for stage in ("discover", "project"):
            key = content_hash(stage, STAGES[stage].settings(config), [key])
            run.manifest.stages[stage].key = key
        run.save_manifest()
    return RunWriter(path, open_run(path).manifest)


def _frames(stage: str) -> dict[str, pl.DataFrame]:
    if stage == "generate":
        return {"completions/0.parquet": _completions(), "tokens/0.parquet": _tokens()}
    if stage == "discover":
        return {"activations/0.parquet": _activations()}
    return {"neurons.parquet": _neurons()}


def _neurons() -> pl.DataFrame:
    rows = []
    for layer in range(LAYERS):
        for neuron in range(WIDTH):
            up = [*PLACED.get(neuron, []), *(f" w{layer}x{neuron}y{n}" for n in range(10))][:10]
            down = [f" d{layer}x{neuron}y{n}" for n in range(10)]
            rows.append((layer, neuron, 30, 20 + neuron, 10, 1.0, up, down))
    types = {"layer": pl.Int32, "neuron": pl.Int32, "hits": pl.Int64, "hits_positive": pl.Int64}
    types |= {"hits_negative": pl.Int64, "value_norm": pl.Float32}
    types |= {"promoted": pl.List(pl.String), "suppressed": pl.List(pl.String)}
    return pl.DataFrame(rows, schema=types, orient="row")


def _completions() -> pl.DataFrame:
    rows = [
        {"variant": "cot", "question_id": f"q{n}", "question": "How many?", "gold": "13", "prompt_length": 2}
        | {"token_ids": [0, 1, *range(len(TEXT))], "text": "".join(TEXT), "stop_reason": "stop", "answer_strict": "13"}
        | {"answer_flexible": "13", "correct": True, "correct_flexible": True, "stated": None}
        for n in range(3)
    ]
    return pl.DataFrame(rows, schema_overrides={"stated": pl.String, "token_ids": pl.List(pl.Int32)})


def _tokens() -> pl.DataFrame:
    rows = [
        {"variant": "cot", "question_id": f"q{n}", "position": 2 + place, "token_id": place, "text": token, "start": 0}
        | {"end": 0, "part": "completion", "demonstration": None, "line": 0, "role": "text"}
        for n in range(3)
        for place, token in enumerate(TEXT)
    ]
    return pl.DataFrame(rows, schema_overrides={"demonstration": pl.Int32})


def _activations() -> pl.DataFrame:
    """Neuron 0 is active, positively, at the word " plus" and nowhere else."""
    rows = [
        {"variant": "cot", "question_id": f"q{n}", "step": step, "token_id": step, "layer": layer}
        | {"neuron": [0 if token == " plus" else 5, 6], "coefficient": [1.0, -1.0], "score": [2.0, 1.0]}
        for n in range(3)
        for step, token in enumerate(TEXT)
        for layer in range(LAYERS)
    ]
    types = {"step": pl.Int32, "layer": pl.Int32, "neuron": pl.List(pl.Int32), "coefficient": pl.List(pl.Float32)}
    return pl.DataFrame(rows, schema_overrides=types)
