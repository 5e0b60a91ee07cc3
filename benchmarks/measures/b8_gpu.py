"""B8: 16 control draws in one run against 16 runs; on a GPU also against one draw, and decoding with capture."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.plan import Plan
from benchmarks.rows import Row, compare
from benchmarks.worker import PeerFailedError, Worker

NAME = "B8"
CAPTURE = 1.05
DRAWS = 3.0
MANY_DRAWS = 16
#: The draws alone, on a CPU: enough questions to fill no batch by themselves.
CPU_QUESTIONS = 4


def run(plan: Plan) -> Iterator[Row]:
    yield in_one_run(plan, "cuda" if has_gpu() else "cpu")
    if not has_gpu():
        yield Row(
            NAME, "decoding with capture; 16 draws against one", None, "", None, note="skipped: no CUDA device here"
        )
        return
    yield from measure(plan, "cuda")


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def in_one_run(plan: Plan, device: str) -> Row:
    """All draws in one call of the engine, against one call for each."""
    questions = plan.questions if device == "cuda" else min(CPU_QUESTIONS, plan.questions)
    pair = {
        "in one run": _draws(plan, device, MANY_DRAWS, questions, together=True),
        "in separate runs": _draws(plan, device, MANY_DRAWS, questions, together=False),
    }
    found = plan.measure(pair, 1)
    one, separate = found["in one run"], found["in separate runs"]
    work = f"{MANY_DRAWS} control draws on {questions} questions in one run"
    if isinstance(one, str):
        raise PeerFailedError(f"{work}: {one}")
    note = ""
    if not isinstance(separate, str):
        texts = list(zip(one.facts["texts"], separate.facts["texts"], strict=True))
        note = f"same text {sum(a == b for a, b in texts)}/{len(texts)}"
    return compare(NAME, work, one, f"{MANY_DRAWS} runs", separate, note=note)


def measure(plan: Plan, device: str) -> Iterator[Row]:
    """Both comparisons on ``device``."""
    job = {"device": device, "prompts": plan.prompts(), "tokens": plan.new_tokens}
    pair = {
        "decoding with capture": plan.ours("decoding:prepare", **job, hooks=True),
        "decoding alone": plan.ours("decoding:prepare", **job, hooks=False),
    }
    yield _row(plan, "decode with top-20 capture", pair, 3, CAPTURE)
    draws = {
        f"{count} control draws": _draws(plan, device, count, plan.questions, together=True)
        for count in (MANY_DRAWS, 1)
    }
    yield _row(plan, f"{MANY_DRAWS} control draws", draws, 1, DRAWS)


def _draws(plan: Plan, device: str, draws: int, questions: int, together: bool) -> Worker:
    return plan.ours(
        "draws:prepare", device=device, prompts=plan.prompts(questions), max_new_tokens=plan.new_tokens,
        draws=draws, together=together,
    )  # fmt: skip


def _row(plan: Plan, work: str, pair: dict[str, Worker], times: int, goal: float) -> Row:
    (_, ours), (beside, alone) = plan.measure(pair, times).items()
    if isinstance(ours, str):
        raise PeerFailedError(f"{work}: {ours}")
    return compare(NAME, work, ours, beside, alone, goal, "share")
