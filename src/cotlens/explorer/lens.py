"""The logit lens of a step: what each layer's residual stream would say next, where the run recorded it."""

from __future__ import annotations

import polars as pl

from cotlens.explorer.attempt import attempt
from cotlens.explorer.opened import OpenedRun
from cotlens.explorer.records import Record
from cotlens.tokens import visible

__all__ = ["LensToken", "read_lens"]

#: Projected neurons whose tokens are looked at for the texts of token ids; there are few ids that none of them has.
_ENOUGH = 20_000


class LensToken(Record):
    """A token, and its probability in percent."""

    shown: str
    percent: float
    shade: int
    """In quarters of certainty."""


def read_lens(opened: OpenedRun, variant: str, question_id: str, step: int) -> list[list[LensToken]]:
    """Layer by layer the most probable tokens, best first; empty for a run that recorded none, or whose file is
    damaged."""
    if not opened.has("discover", "lens/"):
        return []
    found = attempt(lambda: opened.index().lens(variant, question_id)).value
    if found is None:
        return []
    texts = attempt(lambda: _texts(opened)).value or {}
    rows = found.filter(pl.col("step") == step).sort("layer").select("token_ids", "probabilities").rows()
    return [
        [_token(texts.get(token), token, share) for token, share in zip(tokens, shares, strict=True)]
        for tokens, shares in rows
    ]


def _token(text: str | None, token: int, probability: float) -> LensToken:
    shown = visible(text) if text else f"‹{token}›"
    return LensToken(shown=shown, percent=round(100 * probability, 1), shade=round(4 * probability))


def _texts(opened: OpenedRun) -> dict[int, str]:
    """The text of every token id that the run knows one for."""

    def make() -> dict[int, str]:
        neurons = pl.scan_parquet(opened.paths("project", "neurons.parquet")).head(_ENOUGH)
        written = pl.scan_parquet(opened.paths("generate", "tokens/")).select(id="token_id", text="text")
        ends = [neurons.select(id=f"{end}_ids", text=end).explode("id", "text") for end in ("promoted", "suppressed")]
        pairs = pl.concat([*ends, written.filter(pl.col("text") != "")]).unique("id", keep="first", maintain_order=True)
        return dict(pairs.drop_nulls().collect().rows())

    return opened.keep("token texts", make)
