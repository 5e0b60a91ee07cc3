"""The first stage of a run: every question under every variant, completed and graded."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from cotlens.data import build_prompt, extract_answer, is_correct
from cotlens.data.answers import decimal_text
from cotlens.files import content_hash
from cotlens.generate.engine import generate
from cotlens.model.language_model import LanguageModel
from cotlens.store import RunWriter
from cotlens.types import Completion, Problem, Progress

__all__ = ["generate_stage"]


def generate_stage(run: RunWriter, lm: LanguageModel, problems: Sequence[Problem], progress: Progress) -> None:
    """Write ``completions/VARIANT-NNNN.parquet``, one part for every ``generate.part_size`` questions."""
    config = run.config
    size = config.generate.part_size
    progress.begin("generate", len(problems) * len(config.prompt.variants))
    for variant in config.prompt.variants:
        prompts = [build_prompt(variant, problem.question, config.prompt.shots) for problem in problems]
        run.manifest.prompts[variant] = {
            "sha256": content_hash(prompts),
            "mean_tokens": round(sum(len(lm.encode(prompt)) for prompt in prompts) / len(prompts), 1),
        }
        for start in range(0, len(problems), size):
            chunk = problems[start : start + size]
            name = f"completions/{variant}-{start // size:04d}.parquet"
            if run.has_part("generate", name):
                progress.advance(len(chunk))
                continue
            completions = generate(
                lm,
                prompts[start : start + size],
                max_new_tokens=config.generate.max_new_tokens,
                stop=config.generate.stop,
                batch_size=config.generate.batch_size,
                on_progress=progress.advance,
            )
            run.add_frame("generate", name, _frame(variant, chunk, completions))


def _frame(variant: str, problems: Sequence[Problem], completions: Sequence[Completion]) -> pl.DataFrame:
    strict = [extract_answer(done.text, "strict") for done in completions]
    flexible = [extract_answer(done.text, "flexible") for done in completions]
    return pl.DataFrame(
        {
            "variant": [variant] * len(problems),
            "question_id": [problem.id for problem in problems],
            "question": [problem.question for problem in problems],
            "gold": [decimal_text(problem.gold) for problem in problems],
            "prompt_length": [len(done.prompt_ids) for done in completions],
            "token_ids": [[*done.prompt_ids, *done.token_ids] for done in completions],
            "text": [done.text for done in completions],
            "stop_reason": [done.stop_reason for done in completions],
            "answer_strict": [decimal_text(answer) for answer in strict],
            "answer_flexible": [decimal_text(answer) for answer in flexible],
            "correct": [is_correct(a, p.gold) for a, p in zip(strict, problems, strict=True)],
            "correct_flexible": [is_correct(a, p.gold) for a, p in zip(flexible, problems, strict=True)],
        },
        schema_overrides={
            "prompt_length": pl.Int32,
            "token_ids": pl.List(pl.Int32),
            "answer_strict": pl.String,
            "answer_flexible": pl.String,
        },
    )
