"""``python -m benchmarks.scoring``: how answers are read here and by lm-evaluation-harness, against labels set by hand.

The labelled completions are those of ``tests/data/completions.jsonl``. Both readers get the same text: what counts of
a completion, up to a question that the model invents. Prints two Markdown tables, which ``docs/scoring.md`` shows.
"""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cotlens.data.answers import extract_answer, until_next_question

COMPLETIONS = Path(__file__).parents[1] / "tests/data/completions.jsonl"

# The two filters of the task gsm8k_cot, and what its exact_match removes before it compares two texts, in any case.
# Source: lm-evaluation-harness 0.4.13, lm_eval/tasks/gsm8k/gsm8k-cot.yaml, MIT licence.
STRICT_MATCH = re.compile(r"The answer is (\-?[0-9\.\,]+).")
FLEXIBLE_EXTRACT = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")
INVALID = "[invalid]"

OUTCOMES = ("same", "spelling", "rightly none", "missed", "another", "none there")
FILTERS: dict[str, Literal["strict", "flexible"]] = {"strict-match": "strict", "flexible-extract": "flexible"}


class Labelled(NamedTuple):
    """A completion: the part that counts, and the answers a person reads in it."""

    id: str
    text: str
    strict: str | None
    flexible: str | None


class Found(NamedTuple):
    """What a filter takes from a text, and where."""

    text: str
    start: int
    end: int


class Difference(NamedTuple):
    """A completion that a filter doesn't read as the label says."""

    row: Labelled
    filter: str
    outcome: str
    label: str | None
    found: Found | None

    @property
    def before(self) -> str:
        """The text before what was found; all of it if nothing was."""
        return self.row.text[: self.found.start] if self.found else self.row.text

    @property
    def after(self) -> str:
        """The text after what was found."""
        return self.row.text[self.found.end :] if self.found else ""

    @property
    def digits(self) -> str:
        return re.sub(r"\D", "", self.found.text) if self.found else ""

    @property
    def lead(self) -> str:
        """What stands between the first "the answer is", in any case, and the first digit after it."""
        lead = re.search(r"the\s+answer\s+is(\D*)", self.row.text, re.IGNORECASE)
        return lead[1] if lead else ""


def labelled() -> list[Labelled]:
    rows = [json.loads(line) for line in COMPLETIONS.read_text(encoding="utf-8").splitlines()]
    return [Labelled(row["id"], until_next_question(row["text"]), row["strict"], row["flexible"]) for row in rows]


def apply_filter(name: str, text: str) -> Found | None:
    """The first match of strict-match, the last of flexible-extract."""
    if name == "strict-match":
        match = STRICT_MATCH.search(text)
        return Found(match[1], *match.span(1)) if match else None
    matches = list(FLEXIBLE_EXTRACT.finditer(text))
    return Found(matches[-1][0], *matches[-1].span()) if matches else None


def comparable(text: str) -> str:
    """What exact_match compares: the text without what it ignores."""
    for pattern in IGNORED:
        text = re.sub(pattern, "", text)
    return text.lower()


def number(text: str) -> Decimal | None:
    try:
        return Decimal(comparable(text))
    except InvalidOperation:
        return None


def outcome_of_filter(found: Found | None, label: str | None) -> str:
    if found is None:
        return "rightly none" if label is None else "missed"
    if label is None:
        return "none there"
    if comparable(found.text) == label:
        return "same"
    return "spelling" if number(found.text) == Decimal(label) else "another"


def outcome_of_ours(answer: Decimal | None, label: str | None) -> str:
    if answer is None:
        return "rightly none" if label is None else "missed"
    if label is None:
        return "none there"
    return "same" if answer == Decimal(label) else "another"


def differences(rows: list[Labelled]) -> list[Difference]:
    tried = [
        Difference(row, name, outcome_of_filter(found, getattr(row, mode)), getattr(row, mode), found)
        for name, mode in FILTERS.items()
        for row in rows
        for found in [apply_filter(name, row.text)]
    ]
    return [one for one in tried if one.outcome not in ("same", "rightly none")]


def _finds(pattern: str, part: Callable[[Difference], str]) -> Callable[[Difference], bool]:
    return lambda one: re.search(pattern, part(one)) is not None


def _before(pattern: str) -> Callable[[Difference], bool]:
    return _finds(rf"(?:{pattern})\Z", lambda one: one.before if one.filter == "flexible-extract" else "")


def _after(pattern: str) -> Callable[[Difference], bool]:
    return _finds(rf"\A(?:{pattern})", lambda one: one.after if one.filter == "strict-match" else "")


def _lead(pattern: str) -> Callable[[Difference], bool]:
    return _finds(pattern, lambda one: one.lead if one.filter == "strict-match" else "")


def _either(*tests: Callable[[Difference], bool]) -> Callable[[Difference], bool]:
    return lambda one: any(test(one) for test in tests)


# The first that holds is the reason, so that the counts add up to all differences.
REASONS: dict[str, Callable[[Difference], bool]] = {
    "another spelling of the same number": lambda one: one.outcome == "spelling",
    "a number of more than 30 digits": lambda one: len(one.digits) > 30,
    "the text ends with the number; its last digit is lost": lambda one: (
        one.filter == "strict-match" and re.fullmatch(r"\d", one.after) is not None
    ),
    "marks, or digits and marks, that are no number": lambda one: bool(one.found and number(one.found.text) is None),
    "the phrase in lower or upper case": lambda one: (
        one.filter == "strict-match" and (cue := re.search("(?i)the answer is", one.row.text)) is not None
        and cue[0] != "The answer is"
    ),
    "no number after the first phrase, one after a later": lambda one: (
        one.filter == "strict-match" and one.outcome == "none there"
    ),
    "a minus sign that is no hyphen (U+2212)": _either(_lead("−"), _before("−")),
    "`$`, bold or LaTeX between phrase and number": lambda one: one.outcome == "missed" and _lead(r"[$*\\]")(one),
    "words, a colon or a line break between phrase and number": lambda one: one.outcome == "missed",
    "a part of a fraction or mixed number": _either(_after(r"(?: \d+)?/\d"), _before(r"\d/|frac\{\d+\}\{")),
    "a part of a power of ten": _either(_after(r" × 10\^|e-?\d"), _before(r"10\^|\de")),
    "a part of a number with spaces between thousands": _either(_after(r" \d{3}"), _before(r"\d ")),
    "a part of a time": _before(r"\d:"),
    "the marker of a list item": _before(r"(?:^|\n)[ \t]*"),
    "a digit glued to a word": lambda one: one.outcome == "none there",
    "the last number, though an expression follows the phrase": lambda one: (
        re.search(r"(?i)the answer is\D*?[\d.,]+ [-+*/x×] [^.]", one.row.text) is not None
    ),
    "the last number, though another follows the phrase": lambda one: one.row.strict is not None,
}  # fmt: skip


def reason(one: Difference) -> str:
    return next((name for name, holds in REASONS.items() if holds(one)), "other")


def excerpt(one: Difference) -> str:
    """The place that made the difference, on one line."""
    start = one.row.text.lower().find("the answer is")
    if one.filter == "flexible-extract" and one.found:
        start = one.row.text.rfind(" ", 0, max(0, one.found.start - 25)) + 1
    end = max(start + 40, one.found.end if one.found else 0)
    return _short(one.row.text[start:end].strip().replace("\n", "↵"))


def _short(text: str) -> str:
    return text if len(text) <= 50 else f"{text[:49]}…"


def agreement_table(rows: list[Labelled]) -> str:
    """How often each reader finds the answer of the label."""
    readers: dict[str, Counter[str]] = {}
    for mode in FILTERS.values():
        readers[f"cotlens, {mode}"] = Counter(
            outcome_of_ours(extract_answer(row.text, mode), getattr(row, mode)) for row in rows
        )
    for name, mode in FILTERS.items():
        readers[f"lm-evaluation-harness, {name}"] = Counter(
            outcome_of_filter(apply_filter(name, row.text), getattr(row, mode)) for row in rows
        )
    lines = [
        "| reader | same number | same, in another spelling | rightly none | none found | another number "
        "| one where there is none |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |"
        for name, counts in readers.items()
    ]
    return "\n".join(lines)


def reasons_table(rows: list[Labelled]) -> str:
    """Why the filters differ from the labels, with one example each."""
    by_reason: dict[str, list[Difference]] = {}
    for one in differences(rows):
        by_reason.setdefault(reason(one), []).append(one)
    lines = ["| what the filter meets or takes | strict-match | flexible-extract | example |", "|---|---|---|---|"]
    for name in [*REASONS, "other"]:
        if found := by_reason.get(name):
            lines.append(f"| {name} | {_counts(found)} | {_example(found)} |")
    return "\n".join([*lines, f"| all | {_counts(differences(rows))} | |"])


def _counts(found: list[Difference]) -> str:
    counts = Counter(one.filter for one in found)
    return " | ".join(str(counts[name]) for name in FILTERS)


def _example(found: list[Difference]) -> str:
    """Of strict-match if it is there, and the shortest."""
    one = min(found, key=lambda each: (each.filter != "strict-match", len(excerpt(each)), each.row.id))
    got = f"`{_short(one.found.text)}`" if one.found else "nothing"
    return f"{one.row.id}: `{excerpt(one)}`; label {one.label or 'none'}, found {got}"


def check_against_harness(rows: list[Labelled]) -> str:
    """Whether the installed lm-evaluation-harness does on every row what is stated here."""
    if find_spec("lm_eval") is None:
        return "lm-evaluation-harness is not installed, so its own filters were not run beside these."
    filters: Any = importlib.import_module("lm_eval.filters.extraction")
    metrics: Any = importlib.import_module("lm_eval.api.metrics")
    for name, pattern, place in (("strict-match", STRICT_MATCH, 0), ("flexible-extract", FLEXIBLE_EXTRACT, -1)):
        theirs = filters.RegexFilter(pattern.pattern, place).apply([[row.text] for row in rows], [{}] * len(rows))
        for row, (their,) in zip(rows, theirs, strict=True):
            found = apply_filter(name, row.text)
            if their != (found.text.strip() if found else INVALID):
                raise SystemExit(f"{row.id}: {name} of lm-evaluation-harness finds {their!r}, here {found!r}")
            label = getattr(row, FILTERS[name])
            if label is not None and found is not None:
                score = metrics.exact_match_hf_evaluate([their], [label], regexes_to_ignore=IGNORED, ignore_case=True)
                if bool(score["exact_match"]) != (outcome_of_filter(found, label) == "same"):
                    raise SystemExit(f"{row.id}: exact_match of lm-evaluation-harness says {score} of {their!r}")
    return "The installed lm-evaluation-harness finds the same on every row, and its exact_match decides the same."


def main() -> None:
    rows = labelled()
    print(f"{len(rows)} labelled completions\n")
    print(f"{agreement_table(rows)}\n\n{reasons_table(rows)}\n")
    print(check_against_harness(rows))


if __name__ == "__main__":
    main()
