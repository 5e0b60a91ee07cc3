"""The first stage of a run: every question under every variant, completed and graded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cotlens.data import is_correct, make_template
from cotlens.data.answers import decimal_text
from cotlens.data.prompts import Prompt, Template
from cotlens.files import content_hash
from cotlens.generate.answering import Answer, answer, ask
from cotlens.generate.token_table import completion_tokens, prompt_tokens, token_frame
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import common_prefix_length
from cotlens.store import RunWriter
from cotlens.types import Problem, Progress

__all__ = ["generate_stage", "part_name"]


def generate_stage(run: RunWriter, lm: LanguageModel, problems: Sequence[Problem], progress: Progress) -> None:
    """Write ``completions/VARIANT-NNNN.parquet``, one part for every ``generate.part_size`` questions, its tokens under
    the same name in ``tokens/``, and the text of each variant's prompt in ``prompts/``."""
    config = run.config
    size = config.generate.part_size
    progress.begin("generate", len(problems) * len(config.prompt.variants))
    for variant in config.prompt.variants:
        template = make_template(variant, config.prompt)
        prompts = ask(lm, template, [problem.question for problem in problems], config.prompt)
        encoded = [lm.encode(prompt.text, prompt.special_tokens) for prompt in prompts]
        shared = common_prefix_length(encoded)
        run.manifest.prompts[variant] = _describe(template, prompts, encoded, shared)
        run.add_bytes("generate", f"prompts/{part_name(variant)}.txt", prompts[0].text.encode("utf-8", "surrogatepass"))
        for start in range(0, len(problems), size):
            chunk = problems[start : start + size]
            name = f"{part_name(variant)}-{start // size:04d}.parquet"
            if run.has_part("generate", f"completions/{name}"):
                progress.advance(len(chunk))
                continue
            here = prompts[start : start + size]
            answers = answer(lm, here, template.elicit, config.generate, progress.advance)
            # The completions come last: where they are, the part is whole.
            run.add_frame("generate", f"tokens/{name}", _tokens(lm, variant, chunk, here, answers, shared, not start))
            run.add_frame("generate", f"completions/{name}", _completions(variant, chunk, answers))


def part_name(variant: str) -> str:
    """``variant`` as part of a file name; for ``file:PATH`` the file's stem and a piece of its path's hash."""
    if re.fullmatch(r"\w+", variant):
        return variant
    stem = re.sub(r"[^\w.]+", "_", Path(variant).stem)[:40]
    return f"file-{stem}-{content_hash(variant)[:8]}"


def _describe(
    template: Template, prompts: Sequence[Prompt], encoded: Sequence[Sequence[int]], shared: int
) -> dict[str, Any]:
    """What the manifest says of a variant's prompts. Lines and equations are those of all demonstrations together."""
    return {
        "sha256": content_hash([prompt.text for prompt in prompts]),
        "mean_tokens": round(sum(map(len, encoded)) / len(encoded), 1),
        "shared_tokens": shared,
        "demonstrations": template.demonstrations,
        "lines": template.lines,
        "equations": template.equations,
        "two_stage": bool(template.elicit),
    }


def _completions(variant: str, problems: Sequence[Problem], answers: Sequence[Answer]) -> pl.DataFrame:
    done = [answer.completion for answer in answers]
    return pl.DataFrame(
        {
            "variant": [variant] * len(problems),
            "question_id": [problem.id for problem in problems],
            "question": [problem.question for problem in problems],
            "gold": [decimal_text(problem.gold) for problem in problems],
            "prompt_length": [len(completion.prompt_ids) for completion in done],
            "token_ids": [[*completion.prompt_ids, *completion.token_ids] for completion in done],
            "text": [completion.text for completion in done],
            "stop_reason": [completion.stop_reason for completion in done],
            "answer_strict": [decimal_text(answer.strict) for answer in answers],
            "answer_flexible": [decimal_text(answer.flexible) for answer in answers],
            "correct": [is_correct(a.strict, p.gold) for a, p in zip(answers, problems, strict=True)],
            "correct_flexible": [is_correct(a.flexible, p.gold) for a, p in zip(answers, problems, strict=True)],
            "stated": [answer.stated for answer in answers],
        },
        schema_overrides={
            "prompt_length": pl.Int32,
            "token_ids": pl.List(pl.Int32),
            "stated": pl.String,
            "answer_strict": pl.String,
            "answer_flexible": pl.String,
        },
    )


def _tokens(
    lm: LanguageModel,
    variant: str,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    shared: int,
    with_shared: bool,
) -> pl.DataFrame:
    """The tokens of each question and completion; before the first those that all prompts of the variant share."""
    frames = []
    for place, (problem, prompt, found) in enumerate(zip(problems, prompts, answers, strict=True)):
        ids = found.completion.prompt_ids
        rows = prompt_tokens(lm, prompt, ids)
        if with_shared and place == 0:
            frames.append(token_frame(variant, None, rows[:shared]))
        own = [*rows[shared:], *completion_tokens(lm, found.completion.token_ids, len(ids))]
        frames.append(token_frame(variant, problem.id, own))
    return pl.concat(frames)
