"""B4: generation and discovery together, per generated token, against the published Algorithm One."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measures.b2_discovery import TOP_K
from benchmarks.plan import Plan
from benchmarks.rows import Row, disturbance, failed, together
from benchmarks.worker import PeerFailedError

NAME = "B4"
GOAL = 100.0


def run(plan: Plan) -> Iterator[Row]:
    completions = plan.need_completions()
    assert plan.generation_s is not None
    tokens = sum(len(one["token_ids"]) for one in completions)
    few = 2 if plan.short else 8
    workers = {
        "discover": plan.ours(
            "discovery:prepare", completions=completions, scratch=str(plan.scratch), top_k=TOP_K, hooks=True
        ),
        "published Algorithm One": plan.peer(
            "published:discover", completions=completions[:1], tokens=few, top_k=TOP_K
        ),
    }
    found = plan.measure(workers, {"discover": 1, "published Algorithm One": 2})
    ours, theirs = found["discover"], found["published Algorithm One"]
    work = "generate and discover, per token"
    if isinstance(ours, str):
        raise PeerFailedError(f"cotlens discover: {ours}")
    if isinstance(theirs, str):
        yield failed(NAME, work, ours, "published Algorithm One", theirs)
        return
    written = completions[0]["token_ids"][:few]  # fewer where the text ended; theirs goes on
    same = theirs.facts["token_ids"][: len(written)] == written
    yield Row(
        NAME, work, (plan.generation_s + ours.seconds) / tokens, "published Algorithm One", theirs.seconds / few,
        goal=GOAL, ours_mib=ours.peak_mib, theirs_mib=theirs.peak_mib,
        note=together(
            f"{tokens} tokens here, {few} there; {'the same' if same else 'OTHER'} tokens", disturbance(ours, theirs)
        ),
    )  # fmt: skip
