"""An SVG document made fit for a page: fewer characters, titles that browsers show, colours that follow the theme."""

from __future__ import annotations

import re

from cotlens.report.svg import ACCENT, BAND, FONT, GRID, ID, INK, MUTED, PAPER, PART, renamed

__all__ = ["THEMED", "compact", "inline_svg"]

#: The names that style sheets give to the colours of a chart, which change with the theme.
THEMED = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", PAPER: "paper", ACCENT: "accent"}
#: An element with a label; the renderer escapes what could end it.
_LABELLED = re.compile(r'<(\w+)((?: [\w:-]+="[^"]*")*?) aria-label="([^"]*)"((?: [\w:-]+="[^"]*")*)(/?>)')
_NEEDLESS = re.compile(
    r' (?:role|aria-[a-z]+|class|pointer-events|font-family|stroke-miterlimit)="[^"]*"'
    r'| opacity="1"| font-weight="normal"| transform="translate\(0,0\)"'
)
_EMPTY = re.compile(r'<path(?: d="(?:M0,0h0v0h0Z)?"| display="none")+/>|<g></g>')
_GEOMETRY = re.compile(r'( (?:d|transform|x|y|x1|x2|y1|y2)=")([^"]*)"')
_LONG = re.compile(r"\d+\.\d{3,}")


def inline_svg(svg: str, name: str) -> str:
    """``svg`` as an element to place in a page; ``name`` keeps its inner ids apart from those of other charts.

    What its marks say (`told`) is their title, which a browser shows when they are pointed at.
    """
    svg = compact(svg)
    for inner in ID.findall(svg):
        svg = renamed(svg, inner, f"{name}-{inner.removeprefix(PART)}")
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", svg)
    for colour, variable in THEMED.items():
        svg = re.sub(rf'="{colour}"', f'="var(--{variable})"', svg, flags=re.IGNORECASE)
    return svg


def compact(svg: str) -> str:
    """The same picture in fewer characters, and what marks say as their titles.

    The renderer repeats the font at every text, states defaults, draws empty frames, and gives coordinates to a
    trillionth of a pixel.
    """
    svg = _LABELLED.sub(_titled, svg)
    svg = _EMPTY.sub("", _NEEDLESS.sub("", svg))
    svg = _GEOMETRY.sub(lambda found: f'{found[1]}{_LONG.sub(_rounded, found[2])}"', svg)
    return svg.replace("<svg ", f'<svg font-family="{FONT}" ', 1)


def _titled(found: re.Match[str]) -> str:
    """A mark with its label as title; axes and legends lose theirs, since the picture as a whole has one."""
    tag, before, label, after, end = found.groups()
    if 'role="graphics-symbol"' not in after or re.search(r'roledescription="(axis|legend)"', after):
        return f"<{tag}{before}{after}{end}"
    title = f"<title>{label}</title>"
    return f"<{tag}{before}{after}>{title}" + (f"</{tag}>" if end == "/>" else "")


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
