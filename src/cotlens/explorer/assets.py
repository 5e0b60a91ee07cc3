"""Style sheets, scripts and Vega, held in memory: no address ever names a file on disk."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple

from cotlens.errors import EnvironmentFault
from cotlens.files import cache_folder, write_atomic
from cotlens.report.svg import concept_colour

__all__ = ["VEGA", "Asset", "asset", "asset_names"]

VEGA, THEME = "vega.js", "theme.css"

#: Concepts beyond these have no colour of their own.
MOST_COLOURS = 28

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: The report's own variables, of which the first block is light and the second dark.
_VARIABLES = re.compile(r":root \{(.*?)\}", re.DOTALL)


class Asset(NamedTuple):
    data: bytes
    media_type: str
    etag: str


def asset_names() -> list[str]:
    """All names that `asset` knows."""
    own = [entry.name for entry in files("cotlens.explorer").joinpath("static").iterdir() if "." in entry.name]
    return sorted([*(name for name in own if name.rpartition(".")[2] in _TYPES), THEME, VEGA])


@cache
def asset(name: str) -> Asset | None:
    """What the server sends under ``/static/NAME``; None for a name that it does not know."""
    if name not in asset_names():
        return None
    if name == VEGA:
        data = _vega()
    elif name == THEME:
        data = _theme().encode()
    else:
        data = files("cotlens.explorer").joinpath("static", name).read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:16]
    return Asset(data, f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8", f'"{digest}"')


def _theme() -> str:
    """The report's colours and type, switched by the system's setting or by the reader's."""
    style = files("cotlens.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    light, dark = _VARIABLES.findall(style)[:2]
    return (
        f":root {{{light}}}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{{dark}}} }}\n"
        f":root[data-theme=light] {{ color-scheme: light; }}\n"
        f"@media screen {{ :root[data-theme=dark] {{ color-scheme: dark; {dark} }} }}\n"
        + "".join(f".c{place} {{ --concept: {concept_colour(place)}; }}\n" for place in range(MOST_COLOURS))
    )


def _vega() -> bytes:
    """Vega, Vega-Lite and vega-embed as one script, bundled once and kept in the cache."""
    import vl_convert

    kept = cache_folder() / "explorer" / f"vega-{version('vl-convert-python')}.js"
    try:
        return kept.read_bytes()
    except OSError:
        pass
    data = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).encode()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, data)
    except (OSError, EnvironmentFault):
        return data  # without a cache it is bundled anew by the next process
    return data
