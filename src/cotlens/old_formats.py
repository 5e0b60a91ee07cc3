"""Manifests that earlier versions wrote, in the words of the present one. A new step is an entry in `STEPS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["STEPS", "bring_up"]


def _from_2(manifest: dict[str, Any]) -> None:
    """Format 2 knew one edit, of the reasoning neurons."""
    intervene = manifest["config"]["intervene"]
    kind, dose, draws = (intervene.pop(name) for name in ("kind", "dose", "reasoning_draws"))
    intervene["edits"] = [{"kind": kind, "doses": [dose if kind == "noise" else 1.0]}]
    intervene["sets"] = ["reasoning"] if draws else []
    intervene["draws"] = max(1, draws)
    intervene["specificity"] = False


#: From the number of a format, what turns it into the next.
STEPS: dict[int, Callable[[dict[str, Any]], None]] = {2: _from_2}


def bring_up(manifest: dict[str, Any], to: int) -> None:
    """Change a manifest to format ``to``, step by step, as far as there are steps. What is missing stays missing: it is
    told when the manifest is read."""
    while (step := STEPS.get(manifest["schema_version"])) is not None and manifest["schema_version"] < to:
        try:
            step(manifest)
        except (KeyError, TypeError, AttributeError):
            return
        manifest["schema_version"] += 1
