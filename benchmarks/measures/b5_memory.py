"""B5: memory while discovering, over the number of questions."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.floors import memory_floor_mib
from benchmarks.measures.b2_discovery import TOP_K
from benchmarks.plan import Plan
from benchmarks.rows import Row
from benchmarks.worker import Worker

NAME = "B5"
#: What counts as flat.
GOAL = 1.10


def run(plan: Plan) -> Iterator[Row]:
    """The completions of B1, repeated under other names, so that every question is as long as any."""
    completions = plan.need_completions()
    # Even the fewest fill a forward pass; below that memory grows with the pass, not with the questions.
    counts = [len(completions) * times for times in ((12, 24) if plan.short else (1, 2, 4))]
    peaks = {count: plan.measure_one(_discovery(plan, count)).peak_mib for count in counts}
    told = ", ".join(f"{count}: {peak:.0f}" for count, peak in peaks.items())
    first, last = peaks[counts[0]], peaks[counts[-1]]
    yield Row(NAME, f"peak memory of discovery, {counts[-1]} questions", last, f"{counts[0]} questions", first, "MiB",
              GOAL, "share", last, first, note=f"MiB by questions: {told}; model included")  # fmt: skip
    floor = memory_floor_mib(plan.decoder, plan.shared_length())
    yield Row(NAME, "the same", last, "floor: weights and shared prefix", floor, "MiB", None, "share", last,
              note="Python with torch and transformers is in ours alone")  # fmt: skip


def _discovery(plan: Plan, count: int) -> Worker:
    completions = plan.need_completions()
    given = [completions[place % len(completions)] for place in range(count)]
    return plan.ours("discovery:prepare", completions=given, scratch=str(plan.scratch), top_k=TOP_K, hooks=True)
