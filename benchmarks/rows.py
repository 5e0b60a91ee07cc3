"""What a benchmark finds: rows of a table, with a goal where there is one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.quiet import DISTURBED
from benchmarks.worker import Measured


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, in ``unit``; an absent figure was not measured, and the note says why."""

    bench: str
    work: str
    ours: float | None
    beside: str
    """The peer or the bound."""
    theirs: float | None
    unit: str = "s"
    goal: float | None = None
    sense: Literal["speedup", "share"] = "speedup"
    """``speedup``: the ratio is theirs to ours, the goal a least; ``share``: ours to theirs, the goal a most."""
    ours_mib: float | None = None
    theirs_mib: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if not self.ours or not self.theirs:
            return None
        return self.theirs / self.ours if self.sense == "speedup" else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal or without figures."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio >= self.goal if self.sense == "speedup" else self.ratio <= self.goal

    def as_record(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "met": self.met}


HEADER = (
    "| | work | ours | beside | theirs | ratio | goal | peak MiB, ours / theirs | note |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def line(row: Row) -> str:
    """The row as a line of Markdown."""
    unit = f" {row.unit}" if row.unit else ""
    cells = [
        row.bench,
        row.work,
        _number(row.ours, unit),
        row.beside,
        _number(row.theirs, unit),
        _ratio(row),
        _goal(row),
        f"{_number(row.ours_mib)} / {_number(row.theirs_mib)}",
        row.note.replace("|", "\\|"),
    ]
    return "| " + " | ".join(cells) + " |"


def table(rows: Iterable[Row]) -> str:
    return "\n".join([HEADER, *map(line, rows)])


def failed(bench: str, work: str, ours: Measured | None, beside: str, reason: str) -> Row:
    """The row of a peer that could not be measured."""
    seconds, peak = (ours.seconds, ours.peak_mib) if ours else (None, None)
    return Row(bench, work, seconds, beside, None, ours_mib=peak, note=f"not measured: {reason}")


def compare(
    bench: str,
    work: str,
    ours: Measured,
    beside: str,
    theirs: Measured | str,
    goal: float | None = None,
    sense: Literal["speedup", "share"] = "speedup",
    note: str = "",
) -> Row:
    """Ours beside a peer, or the reason why the peer gave no figure."""
    if isinstance(theirs, str):
        return failed(bench, work, ours, beside, theirs)
    note = together(note, disturbance(ours, theirs))
    return Row(
        bench, work, ours.seconds, beside, theirs.seconds, "s", goal, sense, ours.peak_mib, theirs.peak_mib, note
    )


def together(*notes: str) -> str:
    """Notes in one line; empty ones are left out."""
    return "; ".join(filter(None, notes))


def disturbance(*measured: Measured) -> str:
    """What to say of other work on the machine; nothing if it was quiet."""
    worst = max(one.others for one in measured)
    return f"DISTURBED: others used {worst:.1f} cores" if worst > DISTURBED else ""


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def _ratio(row: Row) -> str:
    return "-" if row.ratio is None else f"{row.ratio:.2f}"


def _goal(row: Row) -> str:
    if row.goal is None:
        return "-"
    bound = f"{'>=' if row.sense == 'speedup' else '<='} {row.goal:g}"
    return bound if row.met is None else f"{bound}: {'met' if row.met else '**missed**'}"
