"""The report's section on how far labels can be trusted."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from cotlens.concepts.reliability import Scale, reliability
from cotlens.judge.book import Asked
from cotlens.judge.protocol import Question
from cotlens.report import report_stage
from cotlens.report.judges import judge_exhibit, label_replies
from cotlens.store import RunWriter
from cotlens.types import SignedNeuron, Silent

HOSTILE = "mock/</script><img src=x onerror=alert(1)>\u202e\x1b[31m"


def replies(yes: dict[str, int], of: dict[str, int], concept: str = "add") -> list[tuple[Asked, dict]]:
    """So many yes among so many questions of each kind."""
    found = []
    for kind, total in of.items():
        for n in range(total):
            question = Question(concept, "?", frozenset(), ("x",))
            asked = Asked(question, kind, SignedNeuron(1, n, 1), tag=1 if kind == "retest" else 0)
            found.append((asked, {"status": "ok", "verdict": n < yes[kind]}))
    return found


ASKED = {"label": 10, "random": 8, "shuffled": 8, "retest": 9}
ONE = replies({"label": 6, "random": 1, "shuffled": 2, "retest": 6}, ASKED)
OTHER = replies({"label": 3, "random": 0, "shuffled": 0, "retest": 3}, ASKED)


@pytest.fixture
def measured(report_of: Callable) -> Callable[..., RunWriter]:
    """Makes a run whose judges have answered so."""

    def make(judges: dict[str, list], **content: object) -> RunWriter:
        run = report_of(**content).run
        names = list(judges)
        label = run.config.label.model_copy(update={"judge": names[0], "second_judges": tuple(names[1:])})
        run.manifest.config = run.config.model_copy(update={"label": label})
        run.add_frame("label", "reliability.parquet", reliability(judges, ["add"], Scale(0.95, 50, 0)))
        return run

    return make


@pytest.fixture
def page(measured: Callable[..., RunWriter]) -> Callable[..., str]:
    def make(judges: dict[str, list], **content: object) -> str:
        run = measured(judges, **content)
        report_stage(run, Silent())
        return (run.path / "report.html").read_text(encoding="utf-8")

    return make


def words(html: str) -> str:
    section = html.partition('<section id="neurons">')[2].partition("</section>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", section).split())


def test_it_shows_false_positives_retests_and_yields_with_their_intervals(page: Callable[..., str]) -> None:
    said = words(page({"lexicon": ONE}))
    assert "1 of 8 about random neurons (12.5%, interval 2.2–47.1%)" in said
    assert "2 of 8 about shuffled tokens (25.0%" in said
    assert "lexicon Yes on random neurons 1 8 12.5% 2.2–47.1%" in said
    assert "lexicon Same answer when asked again 9 9 100.0%" in said
    assert "all concepts 10 6 60.0% 31.3–83.2% 1 of 8 2 of 8" in said
    assert re.search(r"add 2 labelled; 6 of 10 judged \(31–83%\)", said)
    assert "Kappa" not in said


def test_two_judges_have_a_kappa(page: Callable[..., str]) -> None:
    said = words(page({"lexicon": ONE, "mock/b": OTHER}))
    # Observed agreement 0.7, expected 0.6 * 0.3 + 0.4 * 0.7 = 0.46.
    assert re.search(r"lexicon and mock/b Cohen’s kappa 7 10 0\.44 -?0\.\d\d to 0\.\d\d", said)
    assert "lexicon alone decides" in said


def test_a_run_without_measures_has_no_such_section(report_of: Callable) -> None:
    assert "How far these labels can be trusted" not in report_of().html
    assert judge_exhibit(report_of().run) is None


def test_without_controls_it_says_so(measured: Callable[..., RunWriter]) -> None:
    only = [pair for pair in ONE if pair[0].kind == "label"]
    assert "false positives were not measured" in judge_exhibit(measured({"lexicon": only})).sentences[1]


def test_a_judge_s_name_and_words_are_shown_as_text(page: Callable[..., str]) -> None:
    html = page({HOSTILE: ONE}, reason='" onmouseover=alert(1) <b>\u202e\x00\ud800' + "x" * 100_000)
    assert not set(re.findall("[\u202e\x1b\x00]", html))

    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list) -> None:
            found.append((tag, [name for name, _ in attributes]))

    Parser().feed(html)
    assert not [tag for tag, names in found if tag in ("script", "img", "b") and names]
    assert not [names for _, names in found if any(name.startswith("on") for name in names)]


def test_replies_about_earlier_concepts_are_not_counted(measured: Callable[..., RunWriter]) -> None:
    run = measured({"lexicon": ONE})
    before = [reply for reply in label_replies(run) if reply["concept"] == "add"]
    assert before == label_replies(run), "those about add are all that was asked"
    path = run.path / "judgements.jsonl"
    old = {"neuron": "L1N1", "sign": 1, "concept": "logic", "status": "ok", "verdict": True, "reason": "old"}
    named = old | {"concept": "", "answer": "sum"}
    path.write_text(path.read_text() + json.dumps(old) + "\n" + json.dumps(named) + "\n")
    assert label_replies(run) == before


def test_open_labelling_is_told_in_its_own_words(measured: Callable[..., RunWriter]) -> None:
    run = measured({"mock/a": ONE})
    label = run.config.label.model_copy(update={"mode": "open"})
    run.manifest.config = run.config.model_copy(update={"label": label})
    found = judge_exhibit(run)
    assert found.sentences[0].startswith("Of 10 signed neurons about which the judge replied, it named a concept for 6")
    assert found.sentences[1].startswith(
        "Among questions mixed in to test it, it named a concept in 1 of 8 about random"
    )
    measures = [row[1] for row in found.judges.rows]
    assert measures[1:5] == [
        "Neurons named", "Random neurons named", "Shuffled tokens named", "Same name when asked again",
    ]  # fmt: skip


def test_controls_are_not_taken_for_labels(report_of: Callable) -> None:
    run = report_of().run
    path = run.path / "judgements.jsonl"
    before = label_replies(run)
    control = {"neuron": "L1N1", "sign": 1, "concept": "add", "status": "ok", "verdict": True, "reason": "no!"}
    lines = [control | {"kind": "random"}, control | {"kind": "label", "judge": "another"}]
    path.write_text(path.read_text() + "".join(json.dumps(line) + "\n" for line in lines))
    assert label_replies(run) == before
