"""B2: the top-K of every layer and step, against the bare forward pass and tools that keep activations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.agreement import compare_tops
from benchmarks.floors import reading_floor
from benchmarks.plan import Plan
from benchmarks.rows import Row, compare, disturbance, failed, together
from benchmarks.worker import Measured, PeerFailedError

NAME = "B2"
OF_GENERATION = 0.5
OF_FORWARD = 1.10
TOP_K = 20


def run(plan: Plan) -> Iterator[Row]:
    completions = plan.need_completions()
    work = f"discover, {len(completions)} completions, {sum(len(one['token_ids']) for one in completions)} steps"
    job = {"completions": completions, "scratch": str(plan.scratch), "top_k": TOP_K}
    arrays = plan.scratch / "discovery-ours.npz"
    pair = {
        "with hooks": plan.ours("discovery:prepare", **job, hooks=True, arrays=str(arrays)),
        "without hooks": plan.ours("discovery:prepare", **job, hooks=False),
    }
    found = plan.measure(pair, max(2, 2 * plan.repetitions - 1))
    ours, bare = found["with hooks"], found["without hooks"]
    if isinstance(ours, str):
        raise PeerFailedError(f"cotlens discover: {ours}")
    plan.discovery = ours
    generation = plan.generation_s
    yield Row(NAME, work, ours.seconds, "B1's own time", generation, goal=OF_GENERATION, sense="share",
              ours_mib=ours.peak_mib, note=together("the whole stage, files included", disturbance(ours)))  # fmt: skip
    yield _overhead(work, ours, bare)
    yield from _peers(plan, job, work, ours, arrays)
    yield _bound(plan, work, ours)


def _overhead(work: str, ours: Measured, bare: Measured | str) -> Row:
    beside = "the same forward passes without hooks"
    if isinstance(bare, str):
        return failed(NAME, work, ours, beside, bare)
    hooked, plain = ours.each("reading_s"), bare.each("reading_s")
    return Row(
        NAME, "its forward passes with top-20 capture", median(hooked), beside, median(plain),
        goal=OF_FORWARD, sense="share", ours_mib=ours.peak_mib, theirs_mib=bare.peak_mib,
        note=together(
            f"medians of {len(hooked)}; the fastest: {min(hooked):.2f} and {min(plain):.2f} s", disturbance(ours, bare)
        ),
    )  # fmt: skip


def _peers(plan: Plan, job: dict[str, Any], work: str, ours: Measured, arrays: Path) -> Iterator[Row]:
    """Each once, text by text, as these tools are used; their result is compared with ours."""
    lens, sight = "lens:discover", "nnsight_trace:discover"
    workers = {
        "plain hooks that keep every coefficient": plan.peer("keep_everything:discover", **_with(plan, job, "plain")),
        "TransformerLens run_with_cache, hook_post only": plan.foreign(
            lens, **_with(plan, job, "post", everything=False)
        ),
        "TransformerLens run_with_cache, everything": plan.foreign(
            lens, slow=True, **_with(plan, job, "all", everything=True)
        ),
        "nnsight, inputs of the down projections": plan.foreign(sight, slow=True, **_with(plan, job, "nnsight")),
    }
    for name, one in plan.measure(workers, 1).items():
        note = "" if isinstance(one, str) else str(compare_tops(arrays, Path(workers[name].job["arrays"])))
        yield compare(NAME, work, ours, name, one, note=note)


def _with(plan: Plan, job: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {**job, "arrays": str(plan.scratch / f"discovery-{name}.npz"), **more}


def _bound(plan: Plan, work: str, ours: Measured) -> Row:
    plan.measure_machine()
    shared = plan.shared_length()
    floor = reading_floor(plan.decoder, plan.bare, shared, plan.read_lengths())
    return Row(NAME, work, ours.seconds, "floor: multiplications", floor, sense="share", ours_mib=ours.peak_mib)
