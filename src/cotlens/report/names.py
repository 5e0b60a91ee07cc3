"""What variants are called in the report: short, telling, no two alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from cotlens.data.variants import FILE_PREFIX
from cotlens.report.text import readable

__all__ = ["variant_names"]

#: No built-in name is longer; what is longer would not fit over a small panel.
_MOST = 20


def variant_names(variants: Iterable[str]) -> dict[str, str]:
    """The name shown for each variant, in the order given; a user's own prompt goes by its file's name."""
    names: dict[str, str] = {}
    for variant in variants:
        name, others = _short(variant), 1
        while name in names.values():
            others += 1
            name = f"{_short(variant, _MOST - 4)} ({others})"
        names[variant] = name
    return names


def _short(variant: str, most: int = _MOST) -> str:
    """Long names lose their middle: files of one series differ at the start or at the end."""
    if variant.startswith(FILE_PREFIX):
        variant = FILE_PREFIX + (PurePath(variant.removeprefix(FILE_PREFIX)).name or variant)
    shown = readable(variant)
    if len(shown) <= most:
        return shown
    kept = (most - 1) // 2
    return f"{shown[: most - 1 - kept]}…{shown[-kept:]}"
