"""B5: memory while discovering, over the number of questions."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measures.b2_discovery import TOP_K
from benchmarks.plan import Plan
from benchmarks.rows import Row

NAME = "B5"
#: What counts as flat.
GOAL = 1.10


def run(plan: Plan) -> Iterator[Row]:
    """The completions of B1, repeated under other names, so that every question is as long as any."""
    completions = plan.need_completions()
    # Even the fewest fill a forward pass; below that memory grows with the pass, not with the questions.
    counts = [len(completions) * times for times in ((16, 32) if plan.short else (1, 2, 4))]
    peaks = {}
    for count in counts:
        given = [completions[place % len(completions)] for place in range(count)]
        worker = plan.ours("discovery:prepare", completions=given, scratch=str(plan.scratch), top_k=TOP_K, hooks=True)
        measured = plan.measure_one(worker)
        peaks[count] = measured.peak_mib
    told = ", ".join(f"{count}: {peak:.0f}" for count, peak in peaks.items())
    first, last = peaks[counts[0]], peaks[counts[-1]]
    yield Row(NAME, f"peak memory of discovery, {counts[-1]} questions", last, f"{counts[0]} questions", first, "MiB",
              GOAL, "share", last, first, note=f"MiB by questions: {told}; model included")  # fmt: skip
