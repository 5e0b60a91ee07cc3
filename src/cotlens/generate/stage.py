"""The first stage of a run: every question under every variant, completed and graded."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cotlens.data import is_correct
from cotlens.data.answers import decimal_text
from cotlens.data.prompts import Prompt
from cotlens.files import content_hash
from cotlens.generate.answering import Answer, Task, answer
from cotlens.generate.asking import Asked, ask_all
from cotlens.generate.server import Server
from cotlens.generate.server_record import open_server
from cotlens.generate.token_table import completion_tokens, prompt_tokens, token_frame
from cotlens.model.language_model import LanguageModel
from cotlens.store import RunWriter
from cotlens.types import Problem, Progress

__all__ = ["generate_stage", "part_name"]

logger = logging.getLogger(__name__)


def generate_stage(run: RunWriter, lm: LanguageModel, problems: Sequence[Problem], progress: Progress) -> None:
    """Write ``completions/VARIANT-NNNN.parquet``, one part for every ``generate.part_size`` questions, its tokens under
    the same name in ``tokens/``, and the text of each variant's prompt in ``prompts/``."""
    asked = ask_all(run.config, lm, problems)
    _tell_left_out(lm, asked[0].left_out, len(problems))
    server = open_server(run, lm, asked[0].encoded[0])
    progress.begin("generate", sum(len(variant.problems) for variant in asked))
    for variant in asked:
        run.manifest.prompts[variant.name] = variant.description()
        name = f"prompts/{part_name(variant.name)}.txt"
        run.add_bytes("generate", name, variant.prompts[0].text.encode("utf-8", "surrogatepass"))
        _complete(run, lm, variant, server, progress)


def _tell_left_out(lm: LanguageModel, left_out: Sequence[str], problems: int) -> None:
    if left_out:
        names = ", ".join(left_out[:10]) + (", ..." if len(left_out) > 10 else "")
        logger.warning(
            "generate: %d of %d questions are left out, their prompts are too long for the model's context of %d "
            "tokens: %s", len(left_out), problems, lm.context_length, names,
        )  # fmt: skip


def _complete(run: RunWriter, lm: LanguageModel, asked: Asked, server: Server | None, progress: Progress) -> None:
    """Write the parts of one variant that are not there yet."""
    size = run.config.generate.part_size
    parts = {
        f"{part_name(asked.name)}-{start // size:04d}.parquet": slice(start, start + size)
        for start in range(0, len(asked.problems), size)
    }
    missing = {name: part for name, part in parts.items() if not run.has_part("generate", f"completions/{name}")}
    progress.advance(len(asked.problems) - sum(len(asked.problems[part]) for part in missing.values()))
    tasks = [Task(asked.prompts[part], names=asked.names()[part]) for part in missing.values()]
    answered = answer(lm, tasks, asked.template.elicit, run.config.generate, progress.advance, asked.shared, server)
    for (name, part), answers in zip(missing.items(), answered, strict=True):
        problems, prompts = asked.problems[part], asked.prompts[part]
        # The completions come last: where they are, the part is whole.
        tokens = _tokens(lm, asked.name, problems, prompts, answers, asked.shared, not part.start)
        run.add_frame("generate", f"tokens/{name}", tokens)
        run.add_frame("generate", f"completions/{name}", _completions(asked.name, problems, answers))


def part_name(variant: str) -> str:
    """``variant`` as part of a file name; for ``file:PATH`` the file's stem and a piece of its path's hash."""
    if re.fullmatch(r"\w+", variant):
        return variant
    stem = re.sub(r"[^\w.]+", "_", Path(variant).stem)[:40]
    return f"file-{stem}-{content_hash(variant)[:8]}"


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
