"""B8: 16 control draws in one run, and decoding with capture; the goals are those of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.plan import Plan
from benchmarks.rows import Row, compare, disturbance, together
from benchmarks.worker import PeerFailedError, Worker

NAME = "B8"
CAPTURE = 1.05
DRAWS = 3.0
MANY_DRAWS = 16
#: Of the short mode.
FEW_DRAWS = 4
#: Of the draws on a CPU: too few to fill a batch by themselves.
CPU_QUESTIONS = 4
CPU_TOKENS = 60


def run(plan: Plan) -> Iterator[Row]:
    device = "cuda" if has_gpu() else plan.device
    yield from draws_in_one_run(plan, device)
    yield decoding_with_capture(plan, device)


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def draws_in_one_run(plan: Plan, device: str) -> Iterator[Row]:
    """All draws in one call of the engine, against one call for each, and against one draw."""
    draws = FEW_DRAWS if plan.short else MANY_DRAWS
    questions = plan.questions if _is_gpu(device) else min(CPU_QUESTIONS, plan.questions)
    job = {"device": device, "prompts": plan.prompts(questions), "max_new_tokens": _tokens(plan, device)}
    pair = {
        "in one run": plan.ours("draws:prepare", **job, draws=draws, together=True),
        "in separate runs": plan.ours("draws:prepare", **job, draws=draws, together=False),
    }
    one, separate = plan.measure(pair, 1).values()
    work = f"{draws} control draws on {questions} questions in one run, {device}"
    if isinstance(one, str):
        raise PeerFailedError(f"{work}: {one}")
    if isinstance(separate, str):
        yield compare(NAME, work, one, f"{draws} runs", separate)
        return
    texts = list(zip(one.facts["texts"], separate.facts["texts"], strict=True))
    same = f"same text {sum(a == b for a, b in texts)} of {len(texts)}"
    yield compare(NAME, work, one, f"{draws} runs", separate, note=same)
    yield Row(
        NAME, work, one.seconds, "one draw, the median", median(separate.facts["each_s"]),
        goal=DRAWS if _is_gpu(device) and draws == MANY_DRAWS else None, sense="share", ours_mib=one.peak_mib,
        note=together(_whose_goal(device), disturbance(one, separate)),
    )  # fmt: skip


def decoding_with_capture(plan: Plan, device: str) -> Row:
    """The engine's steps after the first token, the top-20 of every layer captured in each, against the bare steps."""
    job = {"device": device, "prompts": plan.prompts(), "max_new_tokens": _tokens(plan, device)}
    pair: dict[str, Worker] = {
        "with": plan.ours("decoding:prepare", **job, hooks=True),
        "without": plan.ours("decoding:prepare", **job, hooks=False),
    }
    ours, bare = plan.measure(pair, plan.repetitions).values()
    work = f"decode with top-20 capture, {plan.questions} questions, {device}"
    if isinstance(ours, str):
        raise PeerFailedError(f"{work}: {ours}")
    note = together(f"captured at {ours.facts['captured']} tokens", _whose_goal(device))
    return compare(NAME, work, ours, "decoding alone", bare, CAPTURE if _is_gpu(device) else None, "share", note)


def _tokens(plan: Plan, device: str) -> int:
    return plan.new_tokens if _is_gpu(device) else min(CPU_TOKENS, plan.new_tokens)


def _is_gpu(device: str) -> bool:
    return device != "cpu"


def _whose_goal(device: str) -> str:
    return "" if _is_gpu(device) else "the goal is for a GPU"
