"""The models at hand, and what one of them is; the protocols."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["model_card", "model_table", "protocol_table"]


def model_table(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.model.catalog.list_models` found."""
    parts: list[RenderableType] = []
    for row in found["embedded"]:
        parts.append(Text.assemble((row["name"], "bold"), ", embedded: ", _embedded(row)))
    parts.append(Text(""))
    if found["cached"]:
        parts.append(_cached_table(found["cached"]))
    else:
        parts.append(Text("No language model in the hub's cache."))
    parts += [Text(f"Hub cache: {found['cache_folder']}", style="dim"), Text(""), Text("How a model is named:")]
    names = Table.grid(padding=(0, 2, 0, 0))
    for row in found["kinds"]:
        names.add_row(Text(row["name"], style="bold"), row["what"])
    parts += [names, Text(""), Text("`cotlens models NAME` tells what a model is, without its weights.", style="dim")]
    return Group(*parts)


def model_card(found: dict[str, Any]) -> RenderableType:
    """What `cotlens.model.catalog.describe_model` found."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _facts(found):
        table.add_row(name, Text(value))
    return Group(Text(found["name"], style="bold"), table)


def protocol_table(found: dict[str, str]) -> RenderableType:
    """`cotlens.protocols.PROTOCOLS`."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, what in found.items():
        table.add_row(Text(name, style="bold"), what)
    note = Text("`cotlens protocols NAME` prints one; `cotlens run CONFIG --protocol NAME` follows it.", style="dim")
    return Group(table, Text(""), note)


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    code = found["own_code"]
    shape = f"{found['layers']} x {found['width']:,} = {found['neurons']:,}" if found["neurons"] else "not stated"
    rows = [
        ("kind", found["kind"]),
        ("files", found["path"]),
        ("architecture", found["architecture"] or found["model_type"] or "not stated"),
        ("neurons", f"{shape} (layers x neurons per layer)" if found["neurons"] else shape),
        ("residual stream", _number(found["d_model"])),
        ("vocabulary", _number(found["vocabulary"])),
        ("stored as", found["dtype"] or "not stated"),
        ("weights", "not fetched yet" if found["size_bytes"] is None else _weights(found)),
        ("tokenizer", "yes" if found["tokenizer"] else "no"),
        ("chat template", "yes" if found["chat_template"] else "no"),
    ]
    if found["quantisation"]:
        rows.append(("quantised by", found["quantisation"]))
    if code:
        rows.append(("own code", f"{', '.join(code)}; nothing of it runs without --trust-remote-code"))
    return rows


def _embedded(row: dict[str, Any]) -> str:
    if row["problem"]:
        return str(row["problem"])
    if row["converted"]:
        return f"{row['converted']} ({_size(row['converted_bytes'])})"
    return f"from {row['package']}; its first use converts it, once, in about 20 s"


def _cached_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("in the hub's cache", "architecture", "layers", "width", "stored as", "size", ""):
        table.add_column(name, justify="right" if name in ("layers", "width", "size") else "left")
    for row in rows:
        notes = [] if row["complete"] else ["fetched in part"]
        notes += ["brings code"] if row["own_code"] else []
        notes += ["not supported"] if row["refused"] else []
        table.add_row(
            Text(row["name"], style="bold"), row["architecture"] or row["model_type"], _number(row["layers"]),
            _number(row["width"]), row["quantisation"] or row["dtype"] or "", _size(row["size_bytes"]),
            ", ".join(notes),
        )  # fmt: skip
    return table


def _weights(found: dict[str, Any]) -> str:
    files = found["weight_files"]
    return f"{_size(found['size_bytes'])} in {files} file{'s' if files > 1 else ''}"


def _number(value: int | None) -> str:
    return "not stated" if value is None else f"{value:,}"


def _size(count: int) -> str:
    """Bytes in the unit of a thousand that suits them."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
