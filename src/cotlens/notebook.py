"""What objects show of themselves in a notebook: small pieces of HTML.

Everything is escaped, and styled where it stands, since a notebook has its own style sheet. Colours are those of the
notebook, at most made fainter, so that light and dark themes both work.
"""

from __future__ import annotations

import html
from collections.abc import Container, Iterable, Sequence

from cotlens.tokens import readable, visible

__all__ = ["Html", "card", "chip", "chips", "paragraph", "preformatted", "table", "words"]

_LINE = "1px solid rgba(128,128,128,.3)"
_CELL = f"padding:2px 14px 2px 0;border:0;border-bottom:{_LINE};vertical-align:top;background:none;color:inherit"
_CHIP = (
    "font-family:monospace;font-size:12px;padding:0 4px;margin:0 3px 2px 0;border-radius:3px;display:inline-block;"
    "background:rgba(128,128,128,.16);color:inherit;white-space:nowrap"
)


class Html(str):
    """A piece of HTML, whose texts are escaped."""

    __slots__ = ()


def card(title: str, facts: str, *parts: Html) -> Html:
    """A heading with a line of facts, and what stands under it."""
    head = f'<b>{words(title)}</b> <span style="opacity:.75">{words(facts)}</span>'
    style = "font-size:13px;line-height:1.5;color:inherit;max-width:100%;overflow-x:auto"
    return Html(f'<div style="{style}"><div>{head}</div>{"".join(parts)}</div>')


def table(head: Sequence[str], rows: Iterable[Sequence[str | Html]], numbers: Container[int] = ()) -> Html:
    """A table; the columns whose places are among ``numbers`` are set to the right."""

    def line(tag: str, cells: Sequence[str | Html]) -> str:
        shown = "".join(_cell(tag, cell, place in numbers) for place, cell in enumerate(cells))
        return f'<tr style="background:none;border:0;color:inherit">{shown}</tr>'

    style = "border-collapse:collapse;margin:6px 0 2px;font-size:13px;border:0;background:none;color:inherit"
    body = "".join(line("td", row) for row in rows)
    return Html(f'<table style="{style}"><thead>{line("th", head)}</thead><tbody>{body}</tbody></table>')


def chips(tokens: Iterable[str]) -> Html:
    """Tokens side by side, with what can't be seen made visible."""
    return Html("".join(chip(html.escape(visible(token))) for token in tokens))


def chip(content: str) -> Html:
    """One line of HTML in a frame."""
    return Html(f'<code style="{_CHIP}">{content}</code>')


def preformatted(text: str, most: int = 2000) -> Html:
    """A text with its line breaks."""
    style = (
        f"white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0;padding:6px 10px;border:{_LINE};border-radius:4px;"
        "background:none;color:inherit;font-size:12.5px;line-height:1.5;max-width:90ch"
    )
    return Html(f'<pre style="{style}">{words(text, most)}</pre>')


def paragraph(text: str) -> Html:
    return Html(f'<div style="opacity:.75;margin:2px 0">{words(text)}</div>')


def words(text: str, most: int = 400) -> Html:
    """A text that nothing can act in."""
    return Html(html.escape(readable(text, most)))


def _cell(tag: str, content: str | Html, right: bool) -> str:
    shown = content if isinstance(content, Html) else words(content)
    align = "right" if right else "left"
    weight = ";font-weight:normal;opacity:.75" if tag == "th" else ""
    return f'<{tag} style="{_CELL};text-align:{align}{weight}">{shown}</{tag}>'
