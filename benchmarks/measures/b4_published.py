"""B4: generation and discovery together, per generated token, against the published Algorithm One."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.floors import generation_floor, reading_floor
from benchmarks.measures.b2_discovery import TOP_K
from benchmarks.plan import Plan
from benchmarks.rows import Row, disturbance, failed, together
from benchmarks.worker import Measured, Worker

NAME = "B4"
GOAL = 100.0
WORK = "generate and discover, per token"


def run(plan: Plan) -> Iterator[Row]:
    completions = plan.need_completions()
    tokens = sum(len(one["token_ids"]) for one in completions)
    few = 2 if plan.short else 8
    published = plan.peer("published:discover", completions=completions[:1], tokens=few, top_k=TOP_K)
    theirs = plan.measure({"published Algorithm One": published}, 2)["published Algorithm One"]
    ours = plan.discovery or plan.measure_one(_discovery(plan))
    assert plan.generation_s is not None
    per_token = (plan.generation_s + ours.seconds) / tokens
    yield _bound(plan, per_token, tokens, ours)
    if isinstance(theirs, str):
        yield failed(NAME, WORK, ours, "published Algorithm One", theirs)
        return
    written = completions[0]["token_ids"][:few]  # fewer where the text ended; theirs goes on
    same = theirs.facts["token_ids"][: len(written)] == written
    yield Row(
        NAME, WORK, per_token, "published Algorithm One", theirs.seconds / few,
        goal=GOAL, ours_mib=ours.peak_mib, theirs_mib=theirs.peak_mib,
        note=together(
            f"{tokens} tokens here, {few} there; {'the same' if same else 'OTHER'} tokens", disturbance(ours, theirs)
        ),
    )  # fmt: skip


def _discovery(plan: Plan) -> Worker:
    return plan.ours(
        "discovery:prepare", completions=plan.need_completions(), scratch=str(plan.scratch), top_k=TOP_K, hooks=True
    )


def _bound(plan: Plan, per_token: float, tokens: int, ours: Measured) -> Row:
    prefix, suffixes = plan.shared_length(), plan.suffix_lengths()
    lengths = [len(one["token_ids"]) for one in plan.need_completions()]
    floor = generation_floor(plan.decoder, plan.bare, prefix, suffixes, lengths)
    floor += reading_floor(plan.decoder, plan.bare, prefix, plan.read_lengths())
    return Row(NAME, WORK, per_token, "floor: multiplications and weights", floor / tokens, sense="share",
               ours_mib=ours.peak_mib)  # fmt: skip
