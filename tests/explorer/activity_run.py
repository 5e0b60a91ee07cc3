"""A run with random activations, made by hand and without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cotlens.config import RunConfig
from cotlens.data.roles import Role
from cotlens.store import Run, RunWriter, open_run

LAYERS, WIDTH, K = 3, 30, 6
VARIANTS = ("cot", "text_only")
ROLES: tuple[Role, ...] = ("text", "operand", "operator", "result", "text")


def make_activity_run(path: Path, seed: int = 0, questions: int = 10, tokens: bool = True) -> Run:
    """Stages ``generate`` and ``discover`` are done; ``questions`` of each variant lie in parts of four."""
    config = RunConfig.model_validate({"prompt": {"variants": list(VARIANTS)}, "intervene": {"variant": "cot"}})
    rng = np.random.default_rng(seed)
    with RunWriter.open(path, config) as run:
        run.manifest.model = {"n_layers": LAYERS, "d_ff": WIDTH}
        for stage in ("generate", "discover"):
            run.begin(stage, stage)
        for variant in VARIANTS:
            lengths = [int(rng.integers(1, 40)) for _ in range(questions)]
            for start in range(0, questions, 4):
                numbers = range(start, min(start + 4, questions))
                part = f"{variant}-{start // 4:04d}.parquet"
                if tokens:
                    frames = [_tokens(variant, f"q{n}", lengths[n], n == 0) for n in numbers]
                    run.add_frame("generate", f"tokens/{part}", pl.concat(frames))
                frames = [activations(rng, variant, f"q{n}", lengths[n]) for n in numbers]
                run.add_frame("discover", f"activations/{part}", pl.concat(frames))
        for stage in ("generate", "discover"):
            run.finish(stage, 1.0)
    return open_run(path)


def activations(rng: np.random.Generator, variant: str, question: str, steps: int) -> pl.DataFrame:
    """Neuron 0 is never active; coefficients differ a thousandfold, and some are zero."""
    rows = []
    for step in range(steps):
        for layer in range(LAYERS):
            neuron = 1 + rng.choice(WIDTH - 1, K, replace=False)
            coefficient = (rng.normal(size=K) * 2.0 ** rng.integers(-6, 5, K)).astype(np.float32)
            coefficient[rng.random(K) < 0.02] = 0
            score = np.round(np.abs(coefficient) * (1 + neuron / WIDTH), 1).astype(np.float32)  # ties are likely
            order = np.lexsort((neuron, -score))
            rows.append(
                (variant, question, step, step % 7, layer, *(a[order].tolist() for a in (neuron, coefficient, score)))
            )
    types = {"variant": pl.String, "question_id": pl.String, "step": pl.Int32, "token_id": pl.Int32}
    types |= {"layer": pl.Int32, "neuron": pl.List(pl.Int32)}
    types |= {"coefficient": pl.List(pl.Float32), "score": pl.List(pl.Float32)}
    return pl.DataFrame(rows, schema=types, orient="row")


def _tokens(variant: str, question: str, steps: int, with_shared: bool) -> pl.DataFrame:
    """Two tokens that all prompts share, one of the question, and those of the completion."""
    rows = [(variant, None, place, "prompt", "operator") for place in range(2)] if with_shared else []
    rows.append((variant, question, 2, "question", "number"))
    rows += [(variant, question, 3 + step, "completion", ROLES[(step + len(question)) % 5]) for step in range(steps)]
    return pl.DataFrame(rows, schema=["variant", "question_id", "position", "part", "role"], orient="row")
