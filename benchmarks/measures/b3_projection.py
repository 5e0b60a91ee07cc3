"""B3: every neuron's value vector read as tokens, against the matrix product alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.plan import Plan
from benchmarks.rows import Row, compare
from benchmarks.worker import Measured

NAME = "B3"
GOAL = 1.25
EXTRA_MIB = 512


def run(plan: Plan) -> Iterator[Row]:
    arrays = {dtype: plan.scratch / f"projection-{dtype}.npz" for dtype in ("float32", "bfloat16")}
    for dtype, file in arrays.items():
        job = {"layers": plan.layers, "dtype": dtype}
        workers = {
            f"project, {dtype}": plan.ours("projection:prepare", **job, arrays=str(file)),
            f"bare product, {dtype}": plan.ours("projection:prepare_bare", **job),
        }
        ours, bare = plan.measure(workers, 2).values()
        if isinstance(ours, str):
            yield Row(NAME, f"project, {dtype}", None, "bare product", None, note=f"not measured: {ours}")
            continue
        work = f"project {ours.facts['neurons']} neurons, both ends, {dtype}"
        yield compare(NAME, work, ours, f"the bare product in {dtype}", bare, GOAL, "share", _rate(plan, ours, dtype))
        yield Row(NAME, f"memory of that, {dtype}", ours.extra_mib, "what is allowed", EXTRA_MIB, "MiB", 1.0, "share",
                  ours.peak_mib, note="beyond the loaded model; the result included")  # fmt: skip
    if all(file.exists() for file in arrays.values()):
        yield _bf16_ids(arrays["float32"], arrays["bfloat16"])


def _rate(plan: Plan, ours: Measured, dtype: str) -> str:
    flop = 2 * ours.facts["neurons"] * ours.facts["width"] * ours.facts["vocabulary"]
    bare = plan.bare.gflops if dtype == "float32" else plan.bare_bf16_gflops
    floor = f", floor at {bare:.0f} GFLOP/s: {flop / bare / 1e9:.3g} s" if bare else ""
    return f"{flop / ours.seconds / 1e9:.0f} GFLOP/s seen{floor}; logits are always fp32"


def _bf16_ids(exact: Path, rounded: Path) -> Row:
    """How many of the tokens stay when weights are rounded to bf16."""
    with np.load(exact) as left, np.load(rounded) as right:
        pairs = [pair for end in ("promoted", "suppressed") for pair in zip(left[end], right[end], strict=True)]
    share = float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in pairs]))
    return Row(NAME, "tokens of fp32 weights that bf16 weights name too", share, "all", 1.0, "", None, "share")
