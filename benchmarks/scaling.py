"""``--scaling``: time over the number of questions, the batch size and the length of what is not shared, as a chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measures.b2_discovery import TOP_K
from benchmarks.plan import Plan, shared_length
from benchmarks.worker import Measured, Worker
from cotlens.report import svg

#: Questions, at the batch size that cotlens chooses.
QUESTIONS = (24, 48, 96)
#: Rows of one forward pass, for 24 questions.
BATCHES = (1, 4, 12, 24)
#: How many times a question's own text stands in its prompt.
LENGTHS = (1, 2, 4)
_TOKENS = 48
_SHORT_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement. ``x`` is in the units that ``over`` names."""

    over: str
    work: str
    x: int
    seconds: float
    peak_mib: float


def run(plan: Plan, chart: Path) -> str:
    """Measure, draw ``chart``, and tell the figures as a Markdown table."""
    points = list(measure(plan))
    draw(points, chart)
    lines = ["| over | | work | seconds | peak MiB |", "|---|---|---|---|---|"]
    lines += [f"| {p.over} | {p.x} | {p.work} | {p.seconds:.2f} | {p.peak_mib:.0f} |" for p in points]
    return "\n".join([*lines, "", f"chart: {chart}"])


def measure(plan: Plan) -> Iterator[Point]:
    """Generation over all three, discovery over questions, few tokens each."""
    tokens = _SHORT_TOKENS if plan.short else _TOKENS
    scale = 4 if plan.short else 1
    for count in (one // scale for one in QUESTIONS):
        given = _generate(plan, plan.prompts(count), tokens)
        yield _point("questions", "generate", count, given)
        yield _point("questions", "discover", count, plan.measure_one(_discover(plan, given.facts["completions"])))
    prompts = plan.prompts(QUESTIONS[0] // scale)
    for size in BATCHES:
        yield _point("batch size", "generate", size, _generate(plan, prompts, tokens, batch_size=size))
    for times in LENGTHS:
        longer = [lengthen(prompt, times) for prompt in prompts]
        found = _generate(plan, longer, tokens)
        yield _point("tokens of a question", "generate", _own_tokens(found.facts["completions"]), found)


def lengthen(prompt: str, times: int) -> str:
    """The prompt with the text of its last question ``times`` times."""
    start = prompt.rindex("Question: ") + len("Question: ")
    end = prompt.index("\n", start)
    return prompt[:start] + " ".join([prompt[start:end]] * times) + prompt[end:]


def draw(points: list[Point], chart: Path) -> None:
    """Three panels of seconds side by side, as SVG, in the report's type and colours."""
    import altair as alt
    import polars as pl

    frame = pl.DataFrame(points, schema=["over", "work", "x", "seconds", "peak_mib"], orient="row")
    works = ["generate", "discover"]
    colour = alt.Scale(domain=works, range=[svg.concept_colour(place) for place in range(len(works))])
    panels = [
        alt.Chart(frame.filter(over=over))
        .mark_line(point=True)
        .encode(
            x=alt.X("x:Q", title=over, scale=alt.Scale(zero=True)),
            y=alt.Y("seconds:Q", title="seconds" if place == 0 else None),
            color=alt.Color("work:N", title=None, scale=colour, legend=alt.Legend(orient="top")),
        )
        .properties(width=220, height=180)
        for place, over in enumerate(frame["over"].unique(maintain_order=True))
    ]
    whole = svg.dressed(alt.hconcat(*panels))
    whole.config.background, whole.config.padding = svg.PAPER, 12
    chart.write_text(svg.to_svg(whole), encoding="utf-8")


def _generate(plan: Plan, prompts: list[str], tokens: int, **more: Any) -> Measured:
    job = plan.job(prompts=prompts, max_new_tokens=tokens, **more)
    return plan.measure_one(Worker("benchmarks.ours.generation:prepare", job))


def _discover(plan: Plan, completions: list[dict[str, Any]]) -> Worker:
    return plan.ours("discovery:prepare", completions=completions, scratch=str(plan.scratch), top_k=TOP_K, hooks=True)


def _point(over: str, work: str, x: int, measured: Measured) -> Point:
    return Point(over, work, x, measured.seconds, measured.peak_mib)


def _own_tokens(completions: list[dict[str, Any]]) -> int:
    """The mean length of what the prompts don't share, in tokens."""
    prompts = [one["prompt_ids"] for one in completions]
    return round(sum(map(len, prompts)) / len(prompts)) - shared_length(prompts)
