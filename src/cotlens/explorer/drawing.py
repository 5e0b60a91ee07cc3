"""Templates, and what they may call."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cotlens.report.text import count, decimal, p_text, percent, readable, span
from cotlens.tokens import visible

__all__ = ["draw", "signed"]


def draw(template: str, **context: Any) -> str:
    """A page, or a piece of one."""
    return _environment().get_template(template).render(**context)


def signed(number: float | None, digits: int = 3) -> str:
    """A number with its sign, the minus as long as the plus."""
    return "–" if number is None else f"{number:+.{digits}f}".replace("-", "−")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cotlens.explorer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters |= {
        "count": count, "decimal": decimal, "percent": percent, "signed": signed, "visible": visible,
        "readable": readable, "p": p_text,
    }  # fmt: skip
    environment.globals["span"] = span
    return environment


def _harmless(value: object) -> object:
    """The last net under every text that goes into a page: what could hide or act is escaped here if not before."""
    return readable(value, max(1, len(value))) if isinstance(value, str) and not isinstance(value, Markup) else value
