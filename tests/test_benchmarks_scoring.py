"""The comparison with lm-evaluation-harness, and the page that shows it."""

import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/scoring.md").read_text(encoding="utf-8")
scoring = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks/scoring.py")))
ROWS = scoring.labelled()


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_the_page_shows_the_tables_that_the_code_prints_now() -> None:
    command = [sys.executable, "-m", "benchmarks.scoring"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    tables = re.findall(r"(?:^\|.*\n)+", printed, flags=re.MULTILINE)
    assert tables == [f"{scoring.agreement_table(ROWS)}\n", f"{scoring.reasons_table(ROWS)}\n"]
    for table in tables:
        assert f"\n\n{table}\n" in PAGE
    assert f"{len(ROWS)} completions" in PAGE
    for pattern in (scoring.STRICT_MATCH, scoring.FLEXIBLE_EXTRACT):
        assert f"`{pattern.pattern}`" in PAGE


def test_the_comments_in_the_page_are_what_its_python_prints(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(code, "scoring.md", "exec"), {})
    assert capsys.readouterr().out.split() == re.findall(r"# (\S+)$", code, flags=re.MULTILINE)


def test_every_reader_reads_every_completion_once() -> None:
    for name, *counts in cells(scoring.agreement_table(ROWS)):
        assert sum(map(int, counts)) == len(ROWS), name


def test_the_reasons_add_up_to_all_differences_and_none_is_left_over() -> None:
    *reasons, (_, *totals, _) = cells(scoring.reasons_table(ROWS))
    assert [row[0] for row in reasons] == list(scoring.REASONS)
    for column, (name, total) in enumerate(zip(scoring.FILTERS, totals, strict=True), start=1):
        assert sum(int(row[column]) for row in reasons) == int(total)
        assert Counter(one.filter for one in scoring.differences(ROWS))[name] == int(total)


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("There were 3. The answer is 18.", "18", "18."),
        ("The answer is 18", "1", "18"),
        ("The answer is -1,234.50.", "-1,234.50", "-1,234.50."),
        ("The answer is 3. The answer is 4.", "3.", "4."),
        ("The answer is $18.", None, "$18."),
        ("the answer is 7", None, "7"),
        ("No number.", None, None),
    ],
)
def test_the_filters_take_what_their_patterns_say(text: str, strict: str | None, flexible: str | None) -> None:
    found = [scoring.apply_filter(name, text) for name in ("strict-match", "flexible-extract")]
    assert [one and one.text for one in found] == [strict, flexible]
    assert all(one is None or text[one.start : one.end] == one.text for one in found)


@pytest.mark.parametrize(
    ("found", "label", "outcome"),
    [
        ("18", "18", "same"), ("$1,018.", "1018", "same"), ("18.00.", "18", "spelling"), ("05", "5", "spelling"),
        ("1", "18", "another"), ("$.", "18", "another"), ("5.25.00.", "5.25", "another"), (None, "18", "missed"),
        (None, None, "rightly none"), ("18", None, "none there"),
    ],
)  # fmt: skip
def test_a_number_in_another_spelling_is_not_the_same_text(found: str | None, label: str | None, outcome: str) -> None:
    assert scoring.outcome_of_filter(found and scoring.Found(found, 0, len(found)), label) == outcome


@pytest.mark.parametrize(
    ("text", "label", "name", "reason"),
    [
        ("The answer is 5.0.", "5", "strict-match", "another spelling"),
        ("the answer is 5.", "5", "strict-match", "lower or upper case"),
        ("The answer is $5.", "5", "strict-match", "`$`, bold or LaTeX"),
        ("The answer is\n\\[ 5 \\]", "5", "strict-match", "`$`, bold or LaTeX"),
        ("The answer is: 5.", "5", "strict-match", "words, a colon"),
        ("The answer is about 5.", "5", "strict-match", "words, a colon"),
        ("The answer is −5.", "-5", "strict-match", "minus sign"),
        ("The answer is −5.", "-5", "flexible-extract", "minus sign"),
        ("The answer is 1/5.", "0.2", "strict-match", "fraction"),
        ("The answer is 2 1/2.", "2.5", "flexible-extract", "mixed"),
        ("The answer is 50", "50", "strict-match", "last digit"),
        ("The answer is 5e3.", "5000", "strict-match", "power of ten"),
        ("The answer is 5 000.", "5000", "flexible-extract", "thousands"),
        ("The answer is $5$.", "5", "strict-match", "`$`, bold"),
        ("It is $\\boxed{5}$.", "5", "flexible-extract", "no number"),
        ("At 10:30", "10", "flexible-extract", "time"),
        ("So 5.\n4. Then", "5", "flexible-extract", "list item"),
        ("The answer is 9 - 4 = 5.", "9", "flexible-extract", "expression"),
        ("The answer is 9, not 5.", "9", "flexible-extract", "another follows the phrase"),
        ("It is 5" + "0" * 40, None, "flexible-extract", "30 digits"),
    ],
)
def test_the_reason_of_a_difference(text: str, label: str | None, name: str, reason: str) -> None:
    stated = label if "answer is" in text else None
    (one,) = [one for one in scoring.differences([scoring.Labelled("c", text, stated, label)]) if one.filter == name]
    assert reason in scoring.reason(one)


def test_the_harness_itself_is_run_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class RegexFilter:
        def __init__(self, pattern: str, place: int) -> None:
            self.pattern, self.place = re.compile(pattern), place

        def apply(self, responses: list[list[str]], docs: list[dict[str, str]]) -> list[list[str]]:
            assert len(responses) == len(docs)
            matches = [self.pattern.findall(text) for (text,) in responses]
            return [[self._first(found[self.place]) if found else "[invalid]"] for found in matches]

        def _first(self, groups: str | tuple[str, ...]) -> str:
            return groups if isinstance(groups, str) else next(filter(None, groups))

    def exact_match(found: list[str], labels: list[str], **_: object) -> dict[str, float]:
        return {"exact_match": float(scoring.comparable(found[0]) == labels[0])}

    monkeypatch.setitem(sys.modules, "lm_eval", SimpleNamespace(__spec__=object()))
    monkeypatch.setitem(sys.modules, "lm_eval.filters.extraction", SimpleNamespace(RegexFilter=RegexFilter))
    metrics = SimpleNamespace(exact_match_hf_evaluate=exact_match)
    monkeypatch.setitem(sys.modules, "lm_eval.api.metrics", metrics)
    assert "the same on every row" in scoring.check_against_harness(ROWS)

    metrics.exact_match_hf_evaluate = lambda *_, **__: {"exact_match": 1.0}
    with pytest.raises(SystemExit, match="exact_match of lm-evaluation-harness"):
        scoring.check_against_harness(ROWS)
    monkeypatch.setattr(RegexFilter, "_first", lambda *_: "elephant")
    with pytest.raises(SystemExit, match="finds 'elephant'"):
        scoring.check_against_harness(ROWS)
