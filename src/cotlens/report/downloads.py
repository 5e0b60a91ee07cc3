"""A figure as files: SVG, PNG and CSV, and as links that carry them, for a page that can fetch nothing."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from cotlens.report.figure import WIDE, Figure
from cotlens.report.png import small_png
from cotlens.report.svg import compact, to_svg

__all__ = ["Download", "downloads", "figure_csv", "figure_png", "figure_svg"]

#: Pixels of a PNG for each of the figure.
_SCALE = 1.5
#: What stands for itself in an address within an attribute.
_PLAIN = " !$()*+,-./:;=?@_~"


@dataclass(frozen=True, slots=True)
class Download:
    """A link: its label, the name of the file, and its address, which holds the file."""

    label: str
    file: str
    href: Markup


def downloads(figure: Figure, svg: str) -> tuple[Download, ...]:
    """The figure, drawn as ``svg``, as SVG and PNG, and its numbers as CSV."""
    document = _on_white(svg)
    image = base64.b64encode(_png(document)).decode()
    return (
        Download("SVG", f"{figure.name}.svg", _text_link("image/svg+xml", compact(document).replace('"', "'"))),
        Download("PNG", f"{figure.name}.png", Markup("data:image/png;base64,") + Markup(image)),
        Download("CSV", f"{figure.name}.csv", _text_link("text/csv;charset=utf-8", figure.csv)),
    )


def figure_svg(figure: Figure, width: int = WIDE) -> bytes:
    """The chart as an SVG document on white."""
    return compact(_on_white(to_svg(figure.chart(width)))).encode()


def figure_png(figure: Figure, width: int = WIDE) -> bytes:
    """The chart as an image on white, at one and a half times its size."""
    return _png(_on_white(to_svg(figure.chart(width))))


def figure_csv(figure: Figure) -> bytes:
    """The numbers behind the chart, unrounded."""
    return figure.csv.encode("utf-8", "backslashreplace")


def _on_white(svg: str) -> str:
    end = svg.index(">") + 1
    return f'{svg[:end]}<rect width="100%" height="100%" fill="white"/>{svg[end:]}'


def _png(svg: str) -> bytes:
    import vl_convert

    return small_png(bytes(vl_convert.svg_to_png(svg, scale=_SCALE)))


def _text_link(kind: str, text: str) -> Markup:
    # Quoted like this, no character can end the attribute or begin an element.
    return Markup(f"data:{kind},{quote(text, safe=_PLAIN, errors='backslashreplace')}")
