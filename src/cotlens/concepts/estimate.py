"""What a labelling run would ask and cost, without asking anything."""

from __future__ import annotations

from typing import Any

from cotlens.concepts.concept import load_concepts
from cotlens.concepts.stage import JUDGEMENTS, planned
from cotlens.judge.answering import Desk, open_questions
from cotlens.judge.book import Book, reply_identity
from cotlens.judge.cache import ReplyCache, reply_folder
from cotlens.judge.chat import ChatRequest, Message, Options
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.prices import price_source
from cotlens.judge.prompt import render
from cotlens.judge.protocol import AnyQuestion, Judge
from cotlens.judge.registry import LocalJudge, Means, judge_price, make_judge
from cotlens.judge.remote import most_tokens
from cotlens.store import Run

__all__ = ["estimate"]

#: Characters per token, and tokens of a reply, as a rule of thumb for the estimate; the limit goes by the bound.
_CHARACTERS, _REPLY = 3.0, 60
#: What a server adds for the roles and the schema.
_ADDED = 120


def estimate(run: Run, local: LocalJudge | None = None, ask_again: bool = False) -> dict[str, Any]:
    """Calls, tokens and price of labelling ``run``, for each of its judges; what is stored already is not counted, but
    for what `label_stage` would ``ask_again``.

    ``about_usd`` is an estimate for one call per question; ``at_most_usd`` is what would be set aside for them. Merging
    names and checking labels by texts, which depend on the answers, are not in it.
    """
    config = run.config.label
    questions = planned(run, load_concepts(config.concepts))
    kinds = {kind: sum(asked.kind == kind for asked in questions) for kind in ("label", "random", "shuffled", "retest")}
    means = Means(Ledger(), Stop(), local, with_key=False)
    judges = [make_judge(name, config, means) for name in config.judges]
    desk = Desk(Book(run.path / JUDGEMENTS, ask_again), ReplyCache(None if ask_again else reply_folder()))
    rows = []
    for judge in judges:
        identities = [reply_identity(judge, asked) for asked in questions]
        left = open_questions(desk, judge, questions, identities, write=False)
        texts = [asked.askers[0].question for asked in left]
        judge.close()
        rows.append(_row(judge, texts, run) | {"questions": len(questions), "stored": len(questions) - _open(left)})
    return {
        "run": str(run.path),
        "questions": kinds | {"all": len(questions)},
        "judges": rows,
        "about_usd": _total(rows, "about_usd"),
        "at_most_usd": _total(rows, "at_most_usd"),
        "max_cost_usd": config.max_cost_usd,
    }


def _open(left: list[Any]) -> int:
    return sum(len(question.askers) for question in left)


def _row(judge: Judge, texts: list[AnyQuestion], run: Run) -> dict[str, Any]:
    config = run.config.label
    row: dict[str, Any] = {"judge": judge.name, "calls": len(texts) if judge.remote else 0}
    if not judge.remote:
        return row | {"input_tokens": 0, "output_tokens": 0, "price": None, "about_usd": 0.0, "at_most_usd": 0.0}
    prompts = [render(question, config.prompt_version) for question in texts]
    about = sum(round((len(p.system) + len(p.user)) / _CHARACTERS) + _ADDED for p in prompts)
    requests = [
        ChatRequest(
            (Message("system", p.system), Message("user", p.user)), p.schema, config.max_reply_tokens,
            config.temperature, Options(),
        )
        for p in prompts
    ]  # fmt: skip
    price = judge_price(judge.name, config)
    stated = config.price_in_usd is not None
    return row | {
        "input_tokens": about,
        "output_tokens": _REPLY * len(texts),
        "price": None if price is None else price._asdict(),
        "price_source": None if price is None else "as stated" if stated else price_source(judge.name),
        "about_usd": None if price is None else price.of(about, _REPLY * len(texts)),
        "at_most_usd": None if price is None else sum(price.of(*most_tokens(request)) for request in requests),
    }


def _total(rows: list[dict[str, Any]], field: str) -> float | None:
    costs = [row[field] for row in rows]
    return None if None in costs else sum(costs)
