"""The report in real headless Chromium: nothing is fetched, nothing is logged, nothing runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.browsing import Heard, browser, scrolls_sideways, violations

from cotlens.data import VARIANTS
from cotlens.report.all_figures import all_figures
from cotlens.report.trace_page import render_trace

__all__ = ["browser"]

pytestmark = pytest.mark.browser

#: Figures whose chart, and tables whose columns, go beyond the screen.
CUT_OFF = """[...document.querySelectorAll(".chart, .scroll:has(.compact)")]
    .filter(part => part.offsetParent && part.scrollWidth > part.clientWidth + 1)
    .map(part => part.closest("figure")?.id ?? part.className)"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("strange", [" odd", "</script><img src=x onerror=alert(1)>\u202e"])
def test_the_report_opens_alone_and_fits(
    browser: Browser, report_of: Callable[..., Any], width: int, strange: str
) -> None:
    report = report_of(strange=strange, question=f"{strange} How many?")
    page = browser.new_page(viewport={"width": width, "height": 900})
    heard = Heard(page)
    address = (report.run.path / "report.html").as_uri()
    page.goto(address)
    assert heard.said == []
    assert heard.asked == [address]
    assert page.locator("script, img").count() == 0
    assert page.locator("h1").inner_text()
    assert not scrolls_sideways(page)
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_of_many_variants_fit(browser: Browser, report_of: Callable[..., Any], width: int) -> None:
    report = report_of(variants=(*VARIANTS, "file:/home/me/a-prompt-with-a-long-name.txt"))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((report.run.path / "report.html").as_uri())
    assert page.locator(".chart:visible").count() == 15
    assert page.evaluate(CUT_OFF) == []
    page.locator("details summary").nth(2).click()
    assert page.locator(".prompt:visible").count() == 1
    assert not scrolls_sideways(page)
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_can_be_read_by_everyone(browser: Browser, report: Any, width: int, scheme: Any) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto((report.run.path / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate(CUT_OFF) == []
    assert violations(page) == []
    page.close()


@pytest.fixture(scope="module")
def opened(browser: Browser, report: Any) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page.goto((report.run.path / "report.html").as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("kind", ["SVG", "PNG", "CSV"])
@pytest.mark.parametrize("name", ["accuracy", "effects"])
def test_files_can_be_taken_from_the_page(opened: Page, report: Any, tmp_path: Path, name: str, kind: str) -> None:
    figure = all_figures(report.run)[name].figure
    assert figure is not None
    with opened.expect_download() as taken:
        opened.locator(f"#figure-{name} .files a", has_text=kind).click()
    assert taken.value.suggested_filename == f"{name}.{kind.lower()}"
    taken.value.save_as(tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    if kind == "CSV":
        assert data.decode() == figure.csv
    elif kind == "PNG":
        assert data.startswith(b"\x89PNG")
    else:
        opened.goto((tmp_path / "file").rename(tmp_path / "file.svg").as_uri())
        assert opened.locator("svg title").count() > 1
        opened.go_back()


def test_marks_say_their_numbers_when_pointed_at(opened: Page) -> None:
    """The topmost thing at the middle of a mark has the mark's title, and no text lies over it."""
    said = opened.evaluate(
        """() => [...document.querySelectorAll(".wide svg title")].map(title => {
            const mark = title.parentElement;
            mark.scrollIntoView({block: "center", behavior: "instant"});
            const box = mark.getBoundingClientRect();
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return [title.textContent, top === mark || !!top?.querySelector?.("title")];
        })"""
    )
    assert len(said) > 100
    assert all(text for text, _ in said)
    reached = sum(found for _, found in said)
    assert reached > 0.8 * len(said), "marks lie under something that says nothing"


def test_print_has_the_figures_and_no_links_to_files(opened: Page) -> None:
    opened.emulate_media(media="print")
    assert opened.locator(".files:visible, details:visible table").count() == 0
    assert opened.locator(".chart.wide:visible").count() == 15
    assert not scrolls_sideways(opened)
    opened.emulate_media(media="screen")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_trace_opens_alone_and_its_tokens_can_be_chosen(browser: Browser, tmp_path: Path, width: int) -> None:
    neuron = {"neuron": "L1N2", "coefficient": 1.5, "push": "up", "effect": 0.25, "promotes": [" plus", "</script>"]}
    step = {"read": "5", "next": "<img src=x>", "next_probability": 0.5, "predicted": "4", "predicted_probability": 0.4}
    lens = [{"token": "\u202e</td>", "probability": 0.5, "next_probability": 0.1}] * 2
    steps = [step | {"neurons": [neuron], "lens": lens}] * 40
    file = tmp_path / "trace.html"
    file.write_text(render_trace({"model": "tiny", "text": "5 <b>", "steps": steps}), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})
    heard = Heard(page)
    page.goto(file.as_uri())
    assert heard.said == []
    assert heard.asked == [file.as_uri()]
    assert page.locator("script, img").count() == 0
    assert page.locator(".panel:visible").count() == 1
    page.locator("label.token").nth(7).click()
    assert page.locator("#p7:visible").count() == 1
    page.keyboard.press("ArrowRight")
    assert page.locator("#p8:visible").count() == 1
    assert not scrolls_sideways(page)
    page.close()
