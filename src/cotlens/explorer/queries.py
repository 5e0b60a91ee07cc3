"""What may stand in an address: lengths and ranges that every page and every answer share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BeforeValidator

__all__ = ["Number", "OptionalNumber", "Place", "Size", "Text"]


def _or_none(value: Any) -> Any:
    return None if value == "" else value


Text = Annotated[str, Query(max_length=300)]
Number = Annotated[int, Query(ge=1, le=10**6)]
Size = Annotated[int, Query(ge=1, le=1000)]
Place = Annotated[int, Path(ge=0, le=10**6)]
#: A field of a form that may be left empty.
OptionalNumber = Annotated[int | None, BeforeValidator(_or_none)]
