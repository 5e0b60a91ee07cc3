"""What a token costs at each model, from a dated list that a user can overrule."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from cotlens.files import parse_yaml

__all__ = ["Price", "list_price", "price_source"]

#: Releases of one model differ in a date at the end of their name, and share its price.
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


class Price(NamedTuple):
    """US dollars per million tokens."""

    input_usd: float
    output_usd: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6


def list_price(judge: str) -> Price | None:
    """The list price of ``openai/MODEL`` or ``anthropic/MODEL``; None where the list has none."""
    found = _table()["models"].get(_DATE.sub("", judge))
    return None if found is None else Price(*found)


def price_source(judge: str) -> str:
    """Where the list price was read, and of which month it is."""
    source = _table()["sources"][judge.partition("/")[0]]
    return f"list of {source['as_of']}, {source['read_at']}"


@cache
def _table() -> dict[str, Any]:
    text = resources.files("cotlens.judge").joinpath("prices.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = parse_yaml(text, "prices.yaml")
    return table
