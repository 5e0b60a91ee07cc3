"""B1: few-shot questions answered greedily, against `transformers` and what is built on it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.agreement import same_texts
from benchmarks.floors import decoding_floor, generation_floor, prefix_floor, suffix_floor
from benchmarks.plan import Plan
from benchmarks.rows import Row, compare
from benchmarks.worker import Measured, PeerFailedError, Worker
from cotlens.config import GenerateConfig

NAME = "B1"
GOAL = 5.0
#: The default of `cotlens.generate`.
STOP = GenerateConfig().stop


def run(plan: Plan) -> Iterator[Row]:
    work = f"generate, {plan.asked}, {plan.new_tokens} tokens each"
    job = plan.generation_job()
    tried = {f"transformers generate, batch {size}": size for size in plan.batch_sizes}
    scan = {name: plan.peer("transformers_generate:batched", **job, batch_size=size) for name, size in tried.items()}
    workers = {"cotlens": plan.ours("generation:prepare", **job), **scan}
    found = plan.measure(workers, 1)
    ours = found.pop("cotlens")
    if isinstance(ours, str):
        raise PeerFailedError(f"cotlens generate: {ours}")
    measured = {name: one for name, one in found.items() if isinstance(one, Measured)}
    if not measured:
        raise PeerFailedError(f"transformers generate: {next(iter(found.values()))}")
    best = min(measured, key=lambda name: measured[name].seconds)
    again = plan.peer("transformers_generate:batched", **job, batch_size=tried[best])
    ours, measured[best] = _again(plan, again, (ours, measured[best]))
    best = min(measured, key=lambda name: measured[name].seconds)  # the median may be above another's one time
    plan.keep_completions(ours)
    written = [one["text"] for one in ours.facts["completions"]]

    for name, one in found.items():
        yield _row(work, ours, name, measured.get(name, one), written, GOAL if name == best else None)
    yield from _others(plan, job, work, ours, tried[best], written)
    yield _bound(plan, work, ours)
    yield from phases(plan, ours)
    if not plan.short:
        yield _stopped(plan, tried[best])


def _stopped(plan: Plan, size: int) -> Row:
    """As a study asks: a completion ends where it invents a next question. Both get the same stop text."""
    job = plan.generation_job(stop=list(STOP))
    peer = "transformers generate, stop_strings"
    workers = {"cotlens": plan.ours("generation:prepare", **job),
               peer: plan.peer("transformers_generate:batched", **job, batch_size=size)}  # fmt: skip
    found = plan.measure(workers, {"cotlens": plan.repetitions, peer: 1})
    ours = found["cotlens"]
    if isinstance(ours, str):
        raise PeerFailedError(f"cotlens generate: {ours}")
    written = [one["text"] for one in ours.facts["completions"]]
    work = f"generate, {plan.asked}, up to the stop text or {plan.new_tokens} tokens"
    return _row(work, ours, f"{peer}, batch {size}", found[peer], written, GOAL)


def _again(plan: Plan, best: Worker, found: tuple[Measured, Measured]) -> tuple[Measured, Measured]:
    """The remaining repetitions of ours and of the best of theirs, in turns, added to those ``found``."""
    if plan.repetitions < 2:
        return found
    workers = {"cotlens": plan.ours("generation:prepare", **plan.generation_job()), "transformers, best": best}
    # Theirs takes most of the time; two of it are enough beside three of ours.
    more = plan.measure(workers, {name: 1 if name != "cotlens" else plan.repetitions - 1 for name in workers})
    ours, theirs = (
        first if isinstance(again, str) else first.joined(again)
        for first, again in zip(found, more.values(), strict=True)
    )
    return ours, theirs


def _others(plan: Plan, job: dict[str, Any], work: str, ours: Measured, size: int, written: list[str]) -> Iterator[Row]:
    """The other peers, once each."""
    workers = {
        "lm-evaluation-harness, its transformers backend": plan.foreign("harness:generate", **job, batch_size=size),
        "transformers generate_batch (continuous)": plan.peer("transformers_generate:continuous", slow=True, **job),
        "TransformerLens generate": plan.foreign("lens:generate", slow=True, **job, batch_size=size),
    }
    for name, one in plan.measure(workers, 1).items():
        yield _row(work, ours, name, one, written, None)


def _row(work: str, ours: Measured, name: str, one: Measured | str, written: list[str], goal: float | None) -> Row:
    note = "" if isinstance(one, str) else same_texts(written, one.facts["texts"])
    return compare(NAME, work, ours, name, one, goal, note=note)


def _bound(plan: Plan, work: str, ours: Measured) -> Row:
    plan.measure_machine()  # what else runs on it may have changed in the meantime
    lengths = [len(one["token_ids"]) for one in plan.need_completions()]
    floor = generation_floor(plan.decoder, plan.bare, plan.shared_length(), plan.suffix_lengths(), lengths)
    return Row(
        NAME, work, ours.seconds, "floor: multiplications and weights", floor, sense="share", ours_mib=ours.peak_mib,
        note=f"prefix of {plan.shared_length()} tokens; {sum(lengths)} tokens generated",
    )  # fmt: skip


def phases(plan: Plan, ours: Measured) -> Iterator[Row]:
    """Where the time goes: the shared prefix, the questions and the decoding, each beside its floor, and the rest."""
    prefix, suffixes = plan.shared_length(), plan.suffix_lengths()
    lengths = [len(one["token_ids"]) for one in plan.need_completions()]
    floors = {
        "prefix": prefix_floor(plan.decoder, plan.bare, prefix),
        "questions": suffix_floor(plan.decoder, plan.bare, prefix, suffixes, logits=True),
        "decoding": decoding_floor(plan.decoder, plan.bare, prefix, suffixes, lengths),
    }
    told = {
        "prefix": f"reading the shared prefix, {prefix} tokens",
        "questions": f"reading the questions, {sum(suffixes)} tokens",
        "decoding": f"decoding, {max(lengths) - 1} steps",
        "rest": "outside the model: choice of tokens, ends of texts, order of weights",
    }
    spent = {phase: median(one["phases"][phase] for one in ours.replies) for phase in told}
    for phase, seconds in spent.items():
        beside = "floor" if phase in floors else ""
        note = f"{seconds / sum(spent.values()):.0%} of the time"
        yield Row(NAME, f"of that, {told[phase]}", seconds, beside, floors.get(phase), sense="share", note=note)
