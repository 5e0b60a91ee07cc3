"""Which neurons the sets of a run hold, and the random sets that match them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache

import polars as pl

from cotlens.analyze.matching import Matcher, balance
from cotlens.analyze.neuron_scores import add_scores, covariates, score_sums
from cotlens.capture import Passage
from cotlens.discover import StoredText, open_discovery
from cotlens.files import content_hash
from cotlens.intervene.conditions import RANDOM
from cotlens.intervene.sets import Found, check_layers, find_sets
from cotlens.model.language_model import LanguageModel
from cotlens.model.shared_prefix import compute_prefix
from cotlens.project.stage import value_norms
from cotlens.store import RunWriter
from cotlens.stored_texts import stored_variants
from cotlens.types import Silent

__all__ = ["SETS_PART", "discovered", "make_members"]

logger = logging.getLogger(__name__)

#: Where the members are stored.
SETS_PART = "intervention_sets.parquet"

_MEMBER = ["layer", "neuron"]
_SCHEMA = {"set": pl.String, "target": pl.String, "draw": pl.Int32, "layer": pl.Int32, "neuron": pl.Int32}
_BALANCE = {
    "target": pl.String, "covariate": pl.String, "target_mean": pl.Float64, "random_mean": pl.Float64,
    "standardised_difference": pl.Float64, "random_sets": pl.Int64,
}  # fmt: skip


def discovered(run: RunWriter) -> pl.DataFrame:
    """layer, neuron of every neuron that was active at least once."""
    return run.neurons().filter(pl.col("hits") > 0).select(_MEMBER).sort(_MEMBER)


def make_members(run: RunWriter, load: Callable[[], LanguageModel]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The members of all sets and of their random sets, and how well these match.

    The model is loaded only for rankers other than the run's own, and for neurons that were never active. Members that
    are stored already are taken from there.

    Returns:
        set, target, draw, layer, neuron; and the rows of ``analysis/control_balance.parquet``.
    """
    config = run.config
    sets = _stored_sets(run) if run.has_part("intervene", SETS_PART) else _find_sets(run, load)
    known = covariates(run.neurons(), run.part_paths("discover", "activations/")) if sets else None
    members, balances = [pl.DataFrame(schema=_SCHEMA)], [pl.DataFrame(schema=_BALANCE)]
    for target, own in sets.items():
        assert known is not None
        matcher = Matcher(own, _with_silent(known, own, load), run.concepts())
        draws = _draws(matcher, target, config.intervene.control_draws, config.seed)
        members.append(_as_members(own, target, target, 0))
        members += [_as_members(drawn, RANDOM, target, draw) for draw, drawn in enumerate(draws)]
        balances.append(balance(matcher, draws).select(pl.lit(target).alias("target"), pl.all()))
    return pl.concat(members), pl.concat(balances)


def _stored_sets(run: RunWriter) -> dict[str, pl.DataFrame]:
    own = run.intervention_sets().filter(pl.col("set") == pl.col("target"))
    parts = own.partition_by("set", as_dict=True, maintain_order=True)
    return {name: part.select(_MEMBER) for (name,), part in parts.items()}


def _find_sets(run: RunWriter, load: Callable[[], LanguageModel]) -> dict[str, pl.DataFrame]:
    model = run.manifest.model
    check_layers(run.config, run.config.model.name, model.get("n_layers"), model.get("d_ff"))
    found = Found(run.concepts(), discovered(run), cache(lambda ranker: _scores(run, load, ranker)))
    return find_sets(run.config.intervene.sets, found)


def _draws(matcher: Matcher, target: str, count: int, seed: int) -> list[pl.DataFrame]:
    """Each set has draws of its own, whatever other sets there are."""
    if count and (short := matcher.shortages):
        places = ", ".join(f"layer {one.layer} ({one.members} members, {one.others} others)" for one in short)
        logger.warning(
            "set %r has no random sets: too few other discovered neurons without a label in %s", target, places
        )
        return []
    name = int(content_hash(target)[:15], 16)
    return [matcher.draw([seed, name, draw]) for draw in range(count)]


def _as_members(rows: pl.DataFrame, name: str, target: str, draw: int) -> pl.DataFrame:
    return rows.select(
        pl.lit(name).alias("set"), pl.lit(target).alias("target"), pl.lit(draw, pl.Int32).alias("draw"),
        pl.col(_MEMBER).cast(pl.Int32),
    )  # fmt: skip


def _with_silent(known: pl.DataFrame, own: pl.DataFrame, load: Callable[[], LanguageModel]) -> pl.DataFrame:
    """``known`` with those of ``own`` that were never active."""
    silent = own.join(known, on=_MEMBER, how="anti")
    if silent.is_empty():
        return known
    norms = value_norms(load(), *(silent[name].to_numpy() for name in _MEMBER))
    rows = silent.select(
        *_MEMBER, pl.Series("value_norm", norms, pl.Float64), pl.lit(None, pl.Float64).alias("mean_score"),
        pl.lit(0).cast(known.schema["activity"]).alias("activity"),
    )  # fmt: skip
    return pl.concat([known, rows])


def _scores(run: RunWriter, load: Callable[[], LanguageModel], ranker: str) -> pl.DataFrame:
    """layer, neuron and summed score over the completions that discovery read under the variant that is tested."""
    recorded = [
        pl.scan_parquet(part).filter(pl.col("variant") == run.config.intervene.variant)
        for part in run.part_paths("discover", "activations/")
    ]
    if ranker in ("", run.config.discover.ranker):
        return add_scores(map(score_sums, recorded))
    questions = pl.concat(part.select("question_id").unique() for part in recorded).collect()
    return add_scores(_read_again(run, load(), ranker, set(questions["question_id"])))


def _read_again(run: RunWriter, lm: LanguageModel, ranker: str, questions: set[str]) -> Iterator[pl.DataFrame]:
    """The sums of another ranker over the completions of these questions, part by part."""
    [variant] = [one for one in stored_variants(run) if one.name == run.config.intervene.variant]
    prefix = compute_prefix(lm, variant.prefix)
    with open_discovery(run, lm, [variant], Silent(), ranker) as discovery:
        for part in variant.parts:
            rows = pl.read_parquet(part, columns=["question_id", "token_ids", "prompt_length"]).rows()
            texts = [StoredText(name, Passage(ids, length)) for name, ids, length in rows if name in questions]
            yield score_sums(discovery.part(variant.name, prefix, texts))
