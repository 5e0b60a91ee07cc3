"""The report as a whole: complete, self-contained, safe, right, and never at a loss."""

import re
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest

from cotlens.data import VARIANTS
from cotlens.report import report_stage
from cotlens.report.page import render
from cotlens.types import Silent

SECTIONS = ["run", "prompts", "accuracy", "frequency", "where", "neurons", "walk", "intervention", "methods"]
FIGURES = [
    "accuracy", "failures", "heat", "comparison", "differences", "correctness", "layers", "roles", "steps",
    "effects", "doses", "losses", "rest", "edit_failures", "balance",
]  # fmt: skip
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "</code></td></table></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[31mred\x1b[0m\x07",
    "a\x00b\x08c\u202edcba\u2066\ufeff\ud800",
    "<!-- --><![CDATA[",
    "&lt;b&gt;&#x3c;script&#x3e;",
)


class _Page(HTMLParser):
    """What a browser would build: elements with their attributes, and the text of tables and paragraphs."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.in_svg: set[tuple[str, tuple[str, ...]]] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._depth = 0
        self._hidden = False
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._depth += tag == "svg"
        self._hidden = tag == "style"
        kind = tag, tuple(sorted(name for name, _ in attrs))
        if self._depth:
            self.in_svg.add(kind)
        else:
            self.elements[kind] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "svg"
        self._hidden = False
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data
            if self._in_cell:
                self.tables[-1][-1][-1] += data.strip("\n")

    def table(self, *head: str) -> list[list[str]]:
        """The rows of the first table whose head begins with ``head``."""
        return next(rows[1:] for rows in self.tables if rows[0][: len(head)] == list(head))


@pytest.fixture(scope="module")
def page(report: Any) -> _Page:
    return _Page(report.html)


def test_the_file_is_recorded_with_its_size(report: Any) -> None:
    part = report.run.manifest.stages["report"].parts["report.html"]
    assert part.size_bytes == len(report.html.encode())
    assert 50_000 < part.size_bytes < 3_000_000


def test_every_section_and_figure_is_there_in_order(report: Any) -> None:
    assert re.findall(r'<section id="(\w+)">', report.html) == SECTIONS
    assert re.findall(r"<b>Figure (\d+)\.</b>", report.html) == [str(number) for number in range(1, 16)]
    assert re.findall(r'<figure id="figure-(\w+)">', report.html) == FIGURES
    assert report.html.count("<svg") == 30  # each figure for wide and for narrow screens
    assert report.html.count("Numbers behind figure") == 15


def test_nothing_is_loaded_and_nothing_can_run(report: Any, page: _Page) -> None:
    assert "script" not in {tag for tag, _ in page.elements}
    assert [name for _, name, _ in page.attributes if name.startswith("on")] == []
    loads = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"}
    own = ("#", "data:image/png;base64,", "data:image/svg+xml,", "data:text/csv;charset=utf-8,")
    assert [value for _, name, value in page.attributes if name in loads and not (value or "").startswith(own)] == []
    assert re.findall(r"@import|url\((?!#|%23)", report.html) == []
    assert not re.search(r"https?:(?!//www\.w3\.org/(2000/svg|1999/xlink))", unquote(report.html))  # names
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in (value or ""))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")


def test_ids_are_unique_and_every_reference_has_its_target(report: Any, page: _Page) -> None:
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    wanted = {value[1:] for _, name, value in page.attributes if name == "href" and (value or "").startswith("#")}
    assert wanted | set(re.findall(r"url\(#([^)]+)\)", report.html)) <= ids.keys()


def test_accuracy_numbers_are_those_of_the_run(page: _Page) -> None:
    rows = page.table("Variant", "Correct")
    assert [row[:4] for row in rows] == [["cot", "2", "4", "50.0%"], ["text_only", "2", "4", "50.0%"]]
    assert rows[0][4] == "15.0–85.0%"  # Wilson, 2 of 4
    assert rows[0][5:9] == ["100.0%", "50.0%", "0.0%", "15.0"]


def test_the_length_of_each_prompt_stands_beside_its_accuracy(report: Any, page: _Page) -> None:
    behind, beside = page.table("Variant", "Correct"), page.table("Variant", "Accuracy")
    for variant, full, short in zip(("cot", "text_only"), behind, beside, strict=True):
        prompt = report.run.manifest.prompts[variant]
        numbers = [prompt["mean_tokens"], prompt["demonstrations"], prompt["lines"], prompt["equations"], 1]
        assert short == [variant, "50.0%", *[f"{number:.0f}" for number in numbers]]
        assert full[9:] == short[2:]
    assert beside[0][5] > beside[1][5] == "0"
    assert "can’t be put down to what they show alone" in page.text


def test_prompts_can_be_read_and_what_differs_is_marked(page: _Page, report: Any) -> None:
    section = report.html.split('<section id="prompts">')[1].split("</section>")[0]
    assert section.count("<details>") == 2
    words = " ".join(page.text.split())
    assert "text_only text with results, without their equations" in words
    assert "1 more demonstration" in words
    assert words.count("How many do they have? Let's think step by step") == 2
    cot, text_only = section.split("<details>")[1:]
    assert "<ins" not in cot
    assert re.findall(r'<ins class="line">([^<]*)', text_only)
    assert "Compared with cot, as far as shown: 2 lines changed, added or moved; 0 lines left out." in text_only


def test_frequency_numbers_are_those_of_the_run(report: Any, page: _Page) -> None:
    rows = page.table("Concept", "Variant")
    frame = report.run.frequencies()
    assert [row[0] for row in rows[::2]] == ["add", "equals", "logic", "all concepts"]
    for row in rows:
        concept = "all" if row[0] == "all concepts" else row[0]
        own = frame.filter(variant=row[1], concept=concept, set="concept").row(0, named=True)
        random = frame.filter(variant=row[1], concept=concept, set="random").row(0, named=True)
        assert row[2:4] == [str(own["neurons"]), f"{100 * own['frequency']:.2f}%"]
        assert row[4] == f"{100 * own['low']:.2f}–{100 * own['high']:.2f}%"
        assert row[5:8] == [
            f"{100 * random['frequency']:.2f}%",
            f"{100 * random['low']:.2f}–{100 * random['high']:.2f}%",
            str(random["draws"]),
        ]
        assert row[8] == f"{own['frequency'] / random['frequency']:.2f}×"


def test_layers_and_steps_are_those_of_the_run(report: Any, page: _Page) -> None:
    assert page.table("Layer") == [["1", "1", "0", "0"], ["2", "1", "1", "0"], ["3", "0", "0", "1"]]
    steps = report.run.analysis("steps").filter(variant="cot", concept="all", set="concept").sort("step")
    shown = [row for row in page.table("Variant", "Neurons", "Step") if row[:2] == ["cot", "reasoning"]]
    assert [row[4] for row in shown] == [f"{100 * value:.2f}%" for value in steps["frequency"]]


def test_neurons_are_listed_by_hits_with_the_tokens_of_their_sign(page: _Page) -> None:
    add, equals, logic = [table[1:] for table in page.tables if table[0][-1] == "Judge’s reason"]
    assert [row[:3] for row in add] == [["L2N3+", "23", "1.25"], ["L1N0+", "20", "1.25"]]
    assert [row[0] for row in equals] == ["L2N3+"]
    assert logic[0][:2] == ["L3N5-", "10"]
    assert add[0][3].startswith("The␣sum␣is")
    assert logic[0][3].startswith("␣odd␣=")
    assert add[0][4] == "5 of 20 tokens are words of 'add': sum"
    assert "5 pairs of a signed neuron and a concept passed" in page.text
    assert "4 were confirmed, 1 got no verdict." in page.text


def test_each_token_shows_the_neurons_active_where_it_was_predicted(report: Any, page: _Page) -> None:
    assert report.html.count('<label class="token') == 15
    # At step 0 of q0 every layer has neuron 0 with a positive and neuron 3 with a negative coefficient.
    panel = report.html.split('id="p0"')[1].split('class="panel"')[0]
    assert re.findall(r'class="id">([^<]+)<', panel) == ["L1N0+"]
    assert ">+1.500<" in panel
    # At step 2 neuron 5 is the second of its layer, with a negative coefficient; at step 3 neuron 3 is the first.
    assert re.findall(r'class="id">([^<]+)<', report.html.split('id="p2"')[1].split('class="panel')[0]) == ["L3N5-"]
    assert "−0.500" in report.html.split('id="p2"')[1].split('class="panel')[0]
    assert "step 3, operand" in report.html
    assert report.html.count('title="operand"') == 2
    assert report.html.count(" role on c") + report.html.count(' role"') == 7
    rows = next(
        table for table in page.tables if table[0] == ["Neuron", "Concept", "Coefficient", "Rank in layer", "Promotes"]
    )
    assert rows[1][:4] == ["L1N0+", "add", "+1.500", "1"]


def test_failures_are_those_of_the_run(page: _Page) -> None:
    by_variant, by_edit = (table[1:] for table in page.tables if table[0][:2] == ["Condition", "Class"])
    assert [row[:4] for row in by_variant] == [
        ["cot", "correct", "4", "50.0%"], ["cot", "bad format", "4", "50.0%"],
        ["text_only", "correct", "4", "50.0%"], ["text_only", "bad format", "4", "50.0%"],
    ]  # fmt: skip
    assert [row[5] for row in by_variant] == ["–", "–", "+0.0", "+0.0"]
    # Of the two right answers one is lost in either draw of the reasoning set, none in the random sets.
    assert [row[:4] for row in by_edit if row[1] == "correct"] == [
        ["untouched", "correct", "4", "50.0%"],
        ["reasoning, noise 0.5", "correct", "8", "25.0%"],
        ["random, as reasoning, noise 0.5", "correct", "12", "50.0%"],
        ["reasoning, noise 1", "correct", "8", "25.0%"],
        ["random, as reasoning, noise 1", "correct", "12", "50.0%"],
        ["all but reasoning, noise 1", "correct", "8", "25.0%"],
        ["random, as all but reasoning, noise 1", "correct", "12", "50.0%"],
    ]
    assert "Under cot the most frequent way to fail is bad format (50.0% of the completions)." in page.text


def test_differences_and_roles_are_those_of_the_run(report: Any, page: _Page) -> None:
    found = report.run.analysis("comparisons").filter(role="all", concept="add").row(0, named=True)
    row = next(row for row in page.table("Concept", "Variant", "Contrast") if row[0] == "add")
    assert row[:4] == ["add", "text_only", "free", "4"]
    assert row[4] == f"{100 * found['difference']:+.2f}"
    assert row[6:8] == [f"{found['p_value']:.4f}", f"{found['q_value']:.4f}"]
    assert "0 of 4 differences between a concept’s frequencies stay below 5% after correction." in page.text
    roles = report.run.analysis("roles").filter(variant="cot", token="predicted", concept="add", set="concept")
    shown = [row for row in page.table("Concept", "Role") if row[0] == "add"]
    assert {row[1]: row[3] for row in shown} == {
        f"{role.replace('_', ' ')} ({steps})": f"{100 * frequency:.2f}%"
        for role, steps, frequency in roles.select("role", "steps", "frequency").iter_rows()
    }


def test_intervention_numbers_and_the_changed_answer(page: _Page) -> None:
    head = ("Set", "Edit", "Draws", "Questions", "Untouched", "Accuracy")
    assert [row[:6] for row in page.table(*head)] == [["reasoning (3)", "noise 1", "2", "4", "50.0%", "25.0%"]]
    assert "one-sided p\u00a0=\u00a00.25. No effect beyond that of random neurons is shown." in page.text
    assert "With 3 random sets p cannot fall below 0.25" in page.text
    assert "reasoning (3), noise 1, draw 0: wrong (none)" in page.text


def test_the_summary_says_what_the_tables_say(page: _Page) -> None:
    assert "tiny answered 4 problems of “mini” under 2 prompt variants (cot and text_only)." in page.text
    assert "Of 32 feed-forward neurons found active, the judge “lexicon” confirmed 3 as reasoning neurons" in page.text
    assert "Accuracy was 50.0% under every variant; all intervals overlap" in page.text
    assert "It took 6 min 0 s: generate 1 min 0 s" in page.text


def test_the_same_run_gives_the_same_bytes(report: Any) -> None:
    assert render(report.run) == report.html
    report_stage(report.run, Silent())
    assert (report.run.path / "report.html").read_text(encoding="utf-8") == report.html


def test_no_torch_is_needed(report: Any) -> None:
    import subprocess

    code = (
        "import sys; from cotlens.store import open_run; from cotlens.report.page import render; "
        f"render(open_run({str(report.run.path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_hostile_texts_stay_texts(page: _Page, report_of: Callable[..., Any]) -> None:
    evil = "".join(HOSTILE)
    storable = evil.replace("\ud800", "")
    hostile = report_of(
        variants=("cot", f"file:{storable}"),
        model=storable,
        question=storable,
        tokens=[*HOSTILE[:6], *("".join(HOSTILE[6:7]).replace("\ud800", ""), *HOSTILE[7:]), ".\n", *"abcd", "."],
        strange=storable,
        reason=evil,
        concept=f"logic{storable}",
    )
    _check_harmless(hostile.html, page)
    assert "&lt;/script&gt;&lt;img" in hostile.html
    assert "\\u202e" in hostile.html
    assert "\\x1b[31m" in hostile.html
    assert "\\ud800" in hostile.html


def test_huge_texts_are_cut(page: _Page, report_of: Callable[..., Any]) -> None:
    huge = "<b>" * 33_000
    text = {"question": huge, "tokens": [huge, *TEXT_REST], "strange": huge, "reason": huge}
    large = report_of(**text, reasoning_draws=1, control_draws=1)
    _check_harmless(large.html, page)
    assert len(large.html) < 1_000_000


TEXT_REST = [" sum", " is", " 4", " +", " 9", " =", " 1", "3", ".\n", "The", " answer", " is", " 13", "."]


def _check_harmless(html: str, benign: _Page) -> None:
    """No element or attribute that the benign page lacks, and no character that could hide or act."""
    found = _Page(html)
    assert found.elements == benign.elements
    assert found.in_svg <= benign.in_svg | {("tspan", ("x", "dy"))}
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", html
    )


def test_fourteen_variants_give_a_page_of_moderate_size(report_of: Callable[..., Any]) -> None:
    many = report_of(variants=(*VARIANTS, "file:/home/me/mine.txt"), questions=6)
    page = _Page(many.html)
    assert len(many.html.encode()) < 2_000_000
    assert [row[0] for row in page.table("Variant", "Accuracy")] == [*VARIANTS, "file:mine.txt"]
    stages = {row[0]: row[-1] for row in page.table("Variant", "Accuracy")}
    assert [name for name, stage in stages.items() if stage == "2"] == ["zero_shot", "zero_shot_cot"]
    assert "under 15 prompt variants." in page.text
    assert many.html.count(">2 of 6, two stages</text>") == 4  # two variants, wide and narrow
    # Each variant's name stands whole in every chart that shows variants.
    for name in [*VARIANTS, "file:mine.txt"]:
        assert many.html.count(f">{name}</text>") >= 8


def test_a_second_question_is_shown_where_one_was_asked(report_of: Callable[..., Any]) -> None:
    words = " ".join(_Page(report_of(variants=("zero_shot", "zero_shot_cot")).html).text.split())
    assert "(asked for it after what follows, it wrote “ 13.”)" in words
    assert words.count("Asked for its answer, it wrote “ 13.”.") == 2
    assert "0 demonstrations, two stages" in words
    assert "Compared with zero_shot, as far as shown: 1 line changed, added or moved; 0 lines left out." in words


EMPTY_CASES = {
    "no reasoning neurons": (
        {"labelled": False},
        ["No neuron was confirmed for any concept.", "so there was none to edit", "no activation frequency to report"],
    ),
    "no correct answer": ({"right": 0}, ["No recorded completion has the right answer", "leaves little room"]),
    "nothing recorded": ({"recorded": False}, ["there is no question to walk through"]),
    "one variant, one question": (
        {"variants": ("cot",), "questions": 1, "right": 1},
        ["Accuracy under cot was 100.0% (1 of 1", "1 problem of “mini” under 1 prompt variant (cot)"],
    ),
    "no token texts": (
        {"stored_tokens": False},
        ["so there is no question to walk through", "Its text is not stored."],
    ),
    "prompts not described": (
        {"described_prompts": False},
        ["tokens, – demonstrations"],
    ),
    "no draws": (
        {"reasoning_draws": 0, "control_draws": 0},
        ["No set of neurons was edited, so there is nothing to compare."],
    ),
    "made before there were effects": (
        {"effects": False},
        ["What the interventions show can’t be said: The run has no analysis/effects.parquet"],
    ),
    "no control": ({"control_draws": 0}, ["No random sets were edited (intervene.control_draws is 0)"]),
    "no tokens": ({"tokens": []}, ["there is no question to walk through"]),
    "one draw set to zero": (
        {"kind": "zero", "reasoning_draws": 1},
        ["set to zero, accuracy under cot was 25.0% (interval 4.6–69.9%)"],
    ),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_what_is_missing_is_said_in_words(case: str, report_of: Callable[..., Any]) -> None:
    content, sentences = EMPTY_CASES[case]
    html = report_of(**content).html
    page = _Page(html)
    assert re.findall(r'<section id="(\w+)">', html) == SECTIONS
    words = " ".join(page.text.split())
    for sentence in sentences:
        assert sentence in words
    shown = words.split("Manifest of the run")[0]
    assert not re.search(r"\b(nan|NaN|None|null|inf|Infinity|undefined)\b", shown)
    assert not re.search(r"\bNaN\b", html)
