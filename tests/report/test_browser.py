"""The report in real headless Chromium: nothing is fetched, nothing is logged, nothing runs."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from cotlens.data import VARIANTS

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Figures whose chart, and tables whose columns, go beyond the screen.
CUT_OFF = """[...document.querySelectorAll(".chart, .scroll:has(.compact)")]
    .filter(part => part.offsetParent && part.scrollWidth > part.clientWidth + 1)
    .map(part => part.closest("figure")?.id ?? part.className)"""
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed; .ci/run installs it")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("strange", [" odd", "</script><img src=x onerror=alert(1)>\u202e"])
def test_the_report_opens_alone_and_fits(
    browser: Browser, report_of: Callable[..., Any], width: int, strange: str
) -> None:
    report = report_of(strange=strange, question=f"{strange} How many?")
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (report.run.path / "report.html").as_uri()
    page.goto(address)
    assert said == []
    assert asked == [address]
    assert page.locator("script, img").count() == 0
    assert page.locator("h1").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
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
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    page.close()
